package rules_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// inScript is ev as our sensor sees it: it knows whose process that is, and
// more in alternating names and values.
func inScript(ev *event, more ...any) *event {
	ev.fields["falconer.in_lifecycle"] = true
	ev.fields["falconer.package"] = "pkg:npm/evil@1.0.0"
	ev.fields["falconer.path"] = "node_modules/evil"
	for i := 0; i+1 < len(more); i += 2 {
		ev.fields[more[i].(string)] = more[i+1]
	}
	return ev
}

func sending(addr, data string) *event {
	ev := network("write", script, addr, "tcp")
	ev.fields["evt.buffer"] = data
	return inScript(ev)
}

func asking(name string, names int) *event {
	ev := inScript(network("sendto", script, "127.0.0.53:53", "udp"), "falconer.query", name)
	if names > 0 {
		ev.fields["falconer.asked"] = names
	}
	return ev
}

const registry = "127.0.0.1:4873"

// sensorDetections holds, for each rule that only our sensor can answer, what
// it must and must not match.
var sensorDetections = []struct {
	rule   string
	match  []*event
	ignore []*event
}{
	{"Private directories searched",
		[]*event{inScript(opening(script, "/home", "O_RDONLY|O_DIRECTORY", ""), "falconer.listed", 8)},
		[]*event{inScript(opening(script, "/home", "O_RDONLY|O_DIRECTORY", ""), "falconer.listed", 7), inScript(opening(script, "/home", "O_RDONLY|O_DIRECTORY", ""))}},
	{"Files destroyed",
		[]*event{inScript(onPath("unlink", script, "/root/a"), "falconer.removed", 5), inScript(writing(script, "/root/a"), "falconer.removed", 5), inScript(onPath("truncate", script, "/root/a"), "falconer.removed", 5)},
		[]*event{inScript(onPath("unlink", script, "/root/a"), "falconer.removed", 4), inScript(onPath("unlink", script, "/root/a"))}},
	{"Shipped code removed",
		[]*event{inScript(onPath("unlink", script, "/x/setup.js"), "falconer.own", "setup.js"), inScript(twoPaths("rename", script, "/x/tools/run.py", "/tmp/x"), "falconer.own", "tools/run.py"), inScript(onPath("unlink", script, "/x/package.json"), "falconer.own", "package.json")},
		[]*event{inScript(onPath("unlink", script, "/x/lib/index.cjs"), "falconer.own", "lib/index.cjs"), inScript(onPath("unlink", script, "/x/build/Release/x.node"), "falconer.own", "build/Release/x.node"), inScript(onPath("unlink", script, "/x/y.tar.gz"), "falconer.own", "y.tar.gz"), inScript(onPath("unlink", script, "/x/made.js"))}},
	{"Own manifest rewritten",
		[]*event{inScript(writing(script, "/x/package.json"), "falconer.own", "package.json")},
		[]*event{inScript(reading(script, "/x/package.json"), "falconer.own", "package.json"), inScript(writing(script, "/x/lib/package.json"), "falconer.own", "lib/package.json")}},
	{"Program written by a script executed",
		[]*event{inScript(executing(script.child("x", "")), "falconer.writer", "node"), inScript(executing(script.child("x", "")), "falconer.writer", "/builds/project/node_modules/evil/ld")},
		[]*event{inScript(executing(script.child("conftest", "")), "falconer.writer", "x86_64-linux-gnu-ld.bfd"), inScript(executing(script))}},
	{"Dependency that is only its hook",
		[]*event{inScript(executing(npm.child("sh", "-c node x.js")), "falconer.hook_only", true)},
		[]*event{inScript(executing(npm.child("sh", "-c node x.js")), "falconer.hook_only", false), inScript(executing(script), "falconer.hook_only", true)}},
	{"Data carried out in a name",
		[]*event{asking(strings.Repeat("a", 40)+".example.com", 0), asking("1.2.3.4.5.6.7.8.9.example.com", 0), asking(strings.Repeat("abcdefgh.", 13)+"io", 0)},
		[]*event{asking("objects.githubusercontent.example.com", 0), asking("sharp-libvips.s3.dualstack.eu-central-1.example.com", 0)}},
	{"Many names asked for", []*event{asking("a.example.com", 12)}, []*event{asking("a.example.com", 11), asking("a.example.com", 0)}},
	{"Name of a metadata service or secret store asked for",
		[]*event{asking("metadata.google.internal", 1), asking("vault.corp.example.com", 1), asking("kubernetes.default.svc", 1)},
		[]*event{asking("metadata.example.com", 1)}},
	{"Metadata or secrets asked for over HTTP",
		[]*event{sending("10.0.0.1:80", "GET /latest/meta-data/ HTTP/1.1\r\n"), sending("127.0.0.1:80", "GET / HTTP/1.1\r\nMetadata-Flavor: Google\r\n"), sending("127.0.0.1:8201", "GET /v1/x HTTP/1.1\r\nX-Vault-Token: t\r\n")},
		[]*event{sending(registry, "GET /esbuild HTTP/1.1\r\n")}},
	{"Token checked or change asked of a registry",
		[]*event{sending(registry, "GET /-/whoami HTTP/1.1\r\n"), sending("192.0.2.1:80", "GET /-/npm/v1/tokens HTTP/1.1\r\n"), sending(registry, "PUT /x HTTP/1.1\r\n")},
		[]*event{sending(registry, "GET /whoami HTTP/1.1\r\n"), sending("192.0.2.1:80", "PUT /x HTTP/1.1\r\n")}},
	{"Data sent to the registry",
		[]*event{sending(registry, "POST /x HTTP/1.1\r\n"), sending(registry, "GET /"+strings.Repeat("a", 250)+" HTTP/1.1\r\n"), sending(registry, "GET /x?d="+strings.Repeat("a", 30)+" HTTP/1.1\r\n")},
		[]*event{sending(registry, "GET /@scope%2fname HTTP/1.1\r\n"), sending(registry, "POST /-/npm/v1/security/advisories/bulk HTTP/1.1\r\n"), sending("192.0.2.1:80", "POST /x HTTP/1.1\r\n")}},
	{"Mining protocol spoken",
		[]*event{sending("192.0.2.1:3333", `{"id":1,"method":"mining.subscribe"}`), sending("192.0.2.1:443", `{"jsonrpc":"2.0","method":"login","params":{"agent":"x"}}`)},
		[]*event{sending("192.0.2.1:80", `{"jsonrpc":"2.0","method":"status"}`)}},
	{"Project manifest written",
		[]*event{inScript(writing(script, "/builds/project/package.json")), inScript(twoPaths("rename", script, "/tmp/x", "/builds/project/package-lock.json"))},
		[]*event{inScript(writing(script, "/builds/project/node_modules/x/package.json")), inScript(writing(script, "/tmp/x/package.json")), inScript(reading(script, "/builds/project/package.json"))}},
	{"Tool looked for",
		[]*event{inScript(newEvent("access", script, map[string]any{"evt.failed": true, "evt.arg.name": "/usr/bin/claude"}))},
		[]*event{inScript(newEvent("access", script, map[string]any{"evt.failed": true, "evt.arg.name": "/usr/bin/python2"}))}},
	{"Input of a shell is a connection",
		[]*event{inScript(executing(script.child("sh", "")), "falconer.stdin", "socket:127.0.0.1:4444")},
		[]*event{inScript(executing(script.child("sh", "")), "falconer.stdin", "socket:"), inScript(executing(script.child("cat", "")), "falconer.stdin", "socket:127.0.0.1:4444")}},
}

func TestSensorDetections(t *testing.T) {
	set, err := rules.Load(rules.SensorFields(), shippedFile(t), rules.SensorOverrides())
	if err != nil {
		t.Fatal(err)
	}
	untested := map[string]*rules.Rule{}
	for _, r := range set.Rules() {
		untested[r.Name] = r
	}
	for _, r := range shipped(t).Rules() {
		delete(untested, r.Name)
	}
	for _, r := range untested {
		complete := r.Desc != "" && slices.Contains(r.Tags, "falconer")
		for _, prefix := range []string{falco.BehaviourTag, "T1"} {
			complete = complete && slices.ContainsFunc(r.Tags, func(tag string) bool { return strings.HasPrefix(tag, prefix) })
		}
		if !complete {
			t.Errorf("rule %q: tags %q, description %q", r.Name, r.Tags, r.Desc)
		}
	}
	for _, tt := range sensorDetections {
		delete(untested, tt.rule)
		for _, ev := range tt.match {
			if !slices.Contains(matched(set, ev), tt.rule) {
				t.Errorf("%s: no match for %s %v", tt.rule, describe(ev), ev.fields)
			}
		}
		for _, ev := range tt.ignore {
			if slices.Contains(matched(set, ev), tt.rule) {
				t.Errorf("%s: matches %s %v", tt.rule, describe(ev), ev.fields)
			}
		}
	}
	for name := range maps.Keys(untested) {
		t.Errorf("rule %q has no test", name)
	}
}

// A hook is written in good faith by a package whose purpose it is, by the
// lockfile's name for it, and by the project itself.
func TestHookManagers(t *testing.T) {
	set, err := rules.Load(rules.SensorFields(), shippedFile(t), rules.SensorOverrides())
	if err != nil {
		t.Fatal(err)
	}
	for purl, judged := range map[string]bool{"pkg:npm/husky@4.3.8": false, "pkg:npm/huskyy@4.3.8": true, "pkg:npm/evil@1.0.0": true} {
		ev := inScript(writing(manager, "/builds/project/.git/hooks/pre-commit"), "falconer.package", purl)
		if got := worst(set, ev) < finding.Notice; got != judged {
			t.Errorf("%s: judged %v", purl, got)
		}
	}
	own := inScript(writing(script, "/builds/project/.git/hooks/pre-commit"), "falconer.path", ".")
	delete(own.fields, "falconer.package")
	if worst(set, own) < finding.Notice {
		t.Error("the project's own hook is judged")
	}
}

func worst(set *rules.Set, ev *event) finding.Priority {
	p := finding.Debug
	for _, m := range set.Match(ev) {
		p = min(p, m.Rule.Priority)
	}
	return p
}
