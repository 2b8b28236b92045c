package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SandboxNPM is the reference of the image that npm installs run in.
const SandboxNPM = "sandbox://npm"

// What the sandbox image is made of: programs that must be there, and those
// that are taken along if this machine has them. The more of the usual tools an
// install script finds, the more of what it is up to can be seen.
var (
	needed = []string{"node", "npm", "sh", "cat", "cp", "ls", "mkdir", "rm", "mv", "env", "uname", "id"}
	wanted = []string{
		"npx", "bash", "git", "curl", "wget", "basename", "base64", "chmod", "cut", "date", "dirname", "du", "echo", "expr",
		"false", "find", "grep", "gunzip", "gzip", "head", "hostname", "kill", "ln", "mktemp", "nohup", "nproc", "od", "ps",
		"printenv", "printf", "pwd", "readlink", "realpath", "rmdir", "sed", "seq", "setsid", "sha256sum", "sleep", "sort",
		"stat", "tail", "tar", "tee", "test", "timeout", "touch", "tr", "true", "tty", "uniq", "wc", "whoami", "xargs", "awk",
	}
	// extras are further files, if they exist: what TLS, names and git need.
	extras = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/nsswitch.conf", "/usr/lib/git-core/git-remote-https", "/usr/share/git-core/templates"}
)

// Host builds the sandbox image of this machine's own node, npm and tools, with
// the libraries that they load.
func Host(ctx context.Context) (Image, error) {
	h := host{ctx: ctx, tree: newTree()}
	if err := h.programs(); err != nil {
		return Image{}, err
	}
	h.tree["/home/node"] = entry{mode: fs.ModeDir | 0o755}
	layer, err := h.tree.layer()
	if err != nil {
		return Image{}, err
	}
	img, err := assemble(layer, runtime.GOARCH, v1.Config{
		Cmd: []string{"/bin/sh"},
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/node"},
	})
	return Image{Ref: SandboxNPM, Name: Prefix + "sandbox-npm", Image: img}, err
}

// host collects files of this machine.
type host struct {
	ctx  context.Context
	tree tree
}

// programs adds all that the image is made of.
func (h host) programs() error {
	for _, name := range needed {
		if err := h.program(name); err != nil {
			return err
		}
	}
	for _, name := range wanted {
		if _, err := exec.LookPath(name); err == nil {
			if err := h.program(name); err != nil {
				return err
			}
		}
	}
	// Scripts name their interpreter by its old place, whatever PATH says.
	if err := h.put("/bin/sh"); err != nil {
		return err
	}
	for _, file := range extras {
		if _, err := os.Stat(file); err == nil {
			if err := h.put(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// program adds a program of PATH. One that is installed somewhere else than
// below /usr is linked from where the image's PATH looks.
func (h host) program(name string) error {
	found, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is not installed (looked in PATH): the sandbox image is made of this machine's own", name)
	}
	if found, err = filepath.Abs(found); err != nil {
		return err
	}
	if dir := filepath.Dir(found); dir != "/usr/bin" && dir != "/bin" && dir != "/usr/local/bin" {
		h.tree["/usr/local/bin/"+name] = entry{mode: fs.ModeSymlink, link: found}
	}
	// A script of a package (npm) needs its package.
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		return err
	}
	if before, rest, ok := strings.Cut(real, "/node_modules/"); ok {
		pkg, _, _ := strings.Cut(rest, "/")
		if err := h.put(before + "/node_modules/" + pkg); err != nil {
			return err
		}
	}
	return h.put(found)
}

// put adds a file, a directory with all below it, or a link with what it leads
// to, each at its own place, and the libraries of a program.
func (h host) put(name string) error {
	name = filepath.Clean(name)
	// /bin may be a link to /usr/bin: then it is one in the image as well.
	for dir := filepath.Dir(name); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if err := h.link(dir); err != nil {
				return err
			}
			real, err := filepath.EvalSymlinks(filepath.Dir(name))
			if err != nil {
				return err
			}
			return h.put(filepath.Join(real, filepath.Base(name)))
		}
	}
	if _, done := h.tree[name]; done {
		return nil
	}
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if err := h.link(name); err != nil {
			return err
		}
		to, err := os.Readlink(name)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		if _, err := os.Stat(to); err != nil {
			return nil // a dangling link is one in the image, too
		}
		return h.put(to)
	case info.IsDir():
		h.tree[name] = entry{mode: fs.ModeDir | 0o755}
		list, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := h.put(filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
		return nil
	case !info.Mode().IsRegular():
		return nil // sockets and the like
	}
	// No set-user-ID bit gets in: only the permissions are kept.
	h.tree[name] = entry{mode: info.Mode().Perm() | 0o444, file: name}
	if info.Mode()&0o111 == 0 {
		return nil
	}
	return h.libraries(name)
}

func (h host) link(name string) error {
	to, err := os.Readlink(name)
	h.tree[name] = entry{mode: fs.ModeSymlink, link: to}
	return err
}

var library = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/\S+) \(0x`)

// libraries adds what the dynamic linker loads for a program, and the linker.
func (h host) libraries(program string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := f.Read(magic); err != nil || string(magic) != "\x7fELF" {
		return nil // a script; an empty file
	}
	out, err := exec.CommandContext(h.ctx, "ldd", program).Output()
	if err != nil {
		return nil // statically linked
	}
	for _, m := range library.FindAllSubmatch(out, -1) {
		if err := h.put(string(m[1])); err != nil {
			return err
		}
	}
	return nil
}
