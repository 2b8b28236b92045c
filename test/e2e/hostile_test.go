package e2e

import (
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// A package that prints escape sequences, runs programs with such names and
// sits in such a folder reaches no terminal: not through progress, not through
// the report.
func TestTerminal(t *testing.T) {
	const escapes = `\u001b]0;owned\u0007\u001b[2J\u001b[1;31m\r\u202eCLEAN\u009b31m`
	reg := registrytest.New()
	p, err := reg.Add(registrytest.Files{
		"package.json": `{"name":"escapes","version":"1.0.0","description":"` + escapes + `","scripts":{"postinstall":"node run.js '` + escapes + `'"}}`,
		"run.js": `console.log("printed " + "` + escapes + `")
console.error("printed too " + "` + escapes + `")
const cp = require("child_process"), fs = require("fs")
const dir = "/tmp/" + "` + escapes + `"
fs.mkdirSync(dir, {recursive: true})
fs.copyFileSync("/bin/true", dir + "/p")
fs.chmodSync(dir + "/p", 0o755)
cp.spawnSync(dir + "/p", ["` + escapes + `"], {argv0: "` + escapes + `"})
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newAccount(t)
	a.env = append(a.env, "npm_config_registry="+reg.Start(t)+"/")
	dir := a.write("name \x1b[2J\r\u202e", requiring(t, p))
	o := a.falconer("scan", "--verbose", dir)
	if o.code != 2 || !strings.Contains(o.out, "escapes@1.0.0") || !strings.Contains(o.errout, "printed too") {
		t.Errorf("exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	harmless(t, o.out)
	harmless(t, o.errout)
	o = a.falconer("scan", "--quiet", "--format=json", dir)
	harmless(t, o.out)
	if r := one(t, o); o.code != 2 || !strings.Contains(r.Log, "\u009b31m") {
		t.Errorf("exit code %d, and the log says something else than was printed: %q", o.code, r.Log)
	}
}

// The sandbox has neither our environment nor our files.
func TestSecrets(t *testing.T) {
	reg := registrytest.New()
	p, err := reg.Add(registrytest.Files{
		"package.json": `{"name":"curious","version":"1.0.0","scripts":{"postinstall":"node look.js"}}`,
		"look.js": `const fs = require("fs")
console.log("ENV " + JSON.stringify(process.env))
const read = f => { try { return fs.readFileSync(f, "utf8") } catch (e) { return e.code } }
for (const f of ["/etc/shadow", "/root/.npmrc", "/proc/1/environ", process.env.INIT_CWD + "/.npmrc", process.env.INIT_CWD + "/.env"]) console.log("FILE", f, JSON.stringify(read(f)))
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	reg.RequireToken("hunter2-registry-token")
	address := reg.Start(t)
	a := newAccount(t)
	host := strings.TrimPrefix(address, "http:")
	a.write(".", files{".npmrc": host + "/:_authToken=hunter2-registry-token\n"})
	a.env = append(a.env, "npm_config_registry="+address+"/", "MY_SECRET=hunter2-environment", "AWS_SECRET_ACCESS_KEY=hunter2-aws")
	f := requiring(t, p)
	f[".env"] = "PASSWORD=hunter2-dotenv\n"
	f[".npmrc"] = host + "/:_authToken=hunter2-project-token\n"
	o := a.falconer("scan", "--format=json", a.write("project", f))
	if r := one(t, o); !strings.Contains(r.Log, "ENV {") || !strings.Contains(r.Log, "FILE /etc/shadow") {
		t.Fatalf("exit code %d: the package did not run\n%s%s", o.code, r.Log, o.errout)
	}
	for _, text := range []string{o.out, o.errout} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, a.home) {
			t.Errorf("a secret of ours was seen in the sandbox:\n%s", text)
		}
	}
}
