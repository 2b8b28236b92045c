package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
)

// results reads the JSON documents that a scan printed, each held against the
// published schema.
func results(t *testing.T, out string) (list []finding.Result) {
	t.Helper()
	schema := compile(t)
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("not JSON: %v\n%s", err, out)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err == nil {
			err = schema.Validate(v)
		}
		var r finding.Result
		if err := errors.Join(err, json.Unmarshal(raw, &r)); err != nil {
			t.Fatalf("not a result: %v\n%s", err, raw)
		}
		list = append(list, r)
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("result.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one is results for a single project.
func one(t *testing.T, o outcome) finding.Result {
	t.Helper()
	list := results(t, o.out)
	if len(list) != 1 {
		t.Fatalf("exit code %d, %d documents\n%s%s", o.code, len(list), o.out, o.errout)
	}
	return list[0]
}

// Each case's verdict is the exit code, and the finding names package, script
// and proof.
func TestVerdicts(t *testing.T) {
	for name, code := range map[string]int{
		"stolen-key": 2, "dropped-binary": 2, "persistence": 2, "reverse-shell": 2, "scoped": 2, "one-liner": 1, "benign-postinstall": 0, "benign-plain": 0,
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t)
			o := a.falconer("scan", "--format=json", a.write("project", project(t, name)))
			r := one(t, o)
			if o.code != code {
				t.Errorf("exit code %d, want %d: %q, incomplete %q\n%s", o.code, code, r.Reasons, r.Incomplete, o.errout)
			}
			c := shared.cases[name]
			for _, wrong := range c.Check(r) {
				t.Error(wrong)
			}
			for _, f := range r.Findings {
				if f.Priority > finding.Warning {
					continue
				}
				for _, e := range f.Evidence {
					if len(e.ProcessChain) == 0 || e.CommandLine == "" || e.Time.IsZero() || e.Output == "" || f.Phase != "install" {
						t.Errorf("%s: phase %q, evidence %+v", f.Rule, f.Phase, e)
					}
				}
			}
			if r.Counts.SensorEvents == 0 || r.Counts.SensorDropped != 0 || r.Packages != 1 {
				t.Errorf("counts %+v, %d packages", r.Counts, r.Packages)
			}
			if r.Project != "local/project" || r.Sandbox.Kind != "gvisor" || r.Sandbox.Reason != "completed" {
				t.Errorf("project %q, sandbox %+v", r.Project, r.Sandbox)
			}
		})
	}
}

// The report for people says the verdict first, and package and script.
func TestText(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "stolen-key"))
	o := a.falconer("scan", dir)
	if o.code != 2 || !strings.HasPrefix(o.out, "MALICIOUS  local/project\n") {
		t.Errorf("exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	for _, want := range []string{"pkg:npm/falconer-corpus-stolen-key@1.0.0", "postinstall", "/.ssh/id_rsa", "node collect.js"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("the report does not say %q\n%s", want, o.out)
		}
	}
	if !strings.Contains(o.errout, "scanning .") || !strings.Contains(o.errout, "postinstall") {
		t.Errorf("progress:\n%s", o.errout)
	}
	quiet := a.falconer("scan", "--quiet", dir)
	if quiet.code != 2 || quiet.errout != "" || !strings.HasPrefix(quiet.out, "MALICIOUS") {
		t.Errorf("--quiet: exit code %d\n%s%s", quiet.code, quiet.out, quiet.errout)
	}
}

// An install that does not end in time is no clean one.
func TestTimeout(t *testing.T) {
	a := newAccount(t)
	o := a.falconer("scan", "--format=json", "--timeout=8s", a.write("project", project(t, "hang")))
	r := one(t, o)
	if o.code != 3 || r.Verdict != finding.Inconclusive || r.Sandbox.Reason != "timeout" || !strings.Contains(strings.Join(r.Incomplete, " "), "8s") {
		t.Errorf("exit code %d, verdict %s, sandbox %+v, incomplete %q", o.code, r.Verdict, r.Sandbox, r.Incomplete)
	}
}

// An archive is scanned like the directory it was made from.
func TestArchive(t *testing.T) {
	a := newAccount(t)
	o := a.falconer("scan", "--format=json", a.put("app.tgz", archive(t, "app-1.0", project(t, "stolen-key"))))
	r := one(t, o)
	if o.code != 2 || r.Project != "local/app" || r.Root != "." {
		t.Errorf("exit code %d, project %q, root %q\n%s", o.code, r.Project, r.Root, o.errout)
	}
}

// Of several projects in one source each has its result, and the worst counts.
func TestNestedRoots(t *testing.T) {
	a := newAccount(t)
	src := files{}.under("good", project(t, "benign-postinstall")).under("a/bad", project(t, "stolen-key"))
	src["broken/package.json"], src["broken/package-lock.json"] = "{}", "{"
	o := a.falconer("scan", "--format=json", a.write("project", src))
	got := map[string]finding.Verdict{}
	for _, r := range results(t, o.out) {
		got[r.Root] = r.Verdict
	}
	if o.code != 2 || len(got) != 2 || got["good"] != finding.Clean || got["a/bad"] != finding.Malicious {
		t.Errorf("exit code %d, verdicts %v\n%s", o.code, got, o.errout)
	}
	if !strings.Contains(o.errout, "not scanned: ") || !strings.Contains(o.errout, "broken") {
		t.Errorf("nobody says that a root was left out:\n%s", o.errout)
	}
	src = files{}.under("good", project(t, "benign-postinstall"))
	src["broken/package.json"], src["broken/package-lock.json"] = "{}", "{"
	o = a.falconer("scan", a.write("partly", src))
	if o.code != 3 || !strings.Contains(o.out, "CLEAN") || !strings.Contains(o.out, "broken/package-lock.json") {
		t.Errorf("a root that can't be scanned beside a clean one: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
}

// A workspace's members are installed with their root, and their dependencies
// are watched.
func TestWorkspaces(t *testing.T) {
	a := newAccount(t)
	thief := project(t, "stolen-key")
	var lock struct {
		Packages map[string]map[string]any `json:"packages"`
	}
	if err := json.Unmarshal([]byte(thief["package-lock.json"]), &lock); err != nil {
		t.Fatal(err)
	}
	deps := lock.Packages[""]["dependencies"]
	member := map[string]any{"name": "member", "version": "1.0.0", "dependencies": deps}
	lock.Packages[""] = map[string]any{"name": "top", "version": "1.0.0", "workspaces": []string{"packages/*"}}
	lock.Packages["packages/member"] = member
	lock.Packages["node_modules/member"] = map[string]any{"resolved": "packages/member", "link": true}
	o := a.falconer("scan", "--format=json", a.write("project", files{
		"package.json":                 text(t, map[string]any{"name": "top", "version": "1.0.0", "workspaces": []string{"packages/*"}}),
		"packages/member/package.json": text(t, member),
		"package-lock.json":            text(t, map[string]any{"name": "top", "version": "1.0.0", "lockfileVersion": 3, "packages": lock.Packages}),
	}))
	r := one(t, o)
	wrong := shared.cases["stolen-key"].Check(r)
	if o.code != 2 || r.Root != "." || len(wrong) > 0 {
		t.Errorf("exit code %d, root %q, %q, reasons %q, incomplete %q", o.code, r.Root, wrong, r.Reasons, r.Incomplete)
	}
}

// --output puts the result into a file in one step; what is there and no plain
// file is written to, not replaced.
func TestOutput(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "benign-plain"))
	out := a.write("out", files{"result.json": "old"})
	o := a.falconer("scan", "--format=json", "--output", filepath.Join(out, "result.json"), dir)
	b, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil || o.code != 0 || o.out != "" {
		t.Fatalf("exit code %d, %v\n%s%s", o.code, err, o.out, o.errout)
	}
	if r := results(t, string(b)); len(r) != 1 || r[0].Verdict != finding.Clean {
		t.Errorf("the file holds %s", b)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 1 {
		t.Errorf("beside the result: %v, %v", entries, err)
	}
	link := filepath.Join(out, "link")
	if err := os.Symlink("/dev/stdout", link); err != nil {
		t.Fatal(err)
	}
	o = a.falconer("scan", "--format=json", "--output", link, dir)
	if target, err := os.Readlink(link); err != nil || target != "/dev/stdout" || o.code != 0 || len(results(t, o.out)) != 1 {
		t.Errorf("to a device: exit code %d, link %q, %v\n%s%s", o.code, target, err, o.out, o.errout)
	}
	for _, bad := range []string{filepath.Join(a.home, "none", "r.json"), out} {
		if o := a.falconer("scan", "--output", bad, dir); o.code != 4 || strings.Contains(o.errout, "postinstall") || strings.Contains(o.errout, "scanning") || !oneLine(o.errout) {
			t.Errorf("--output %s: exit code %d, after a scan that was for nothing?\n%s", bad, o.code, o.errout)
		}
	}
}

// oneLine reports whether a message is a single line of a bearable length.
func oneLine(s string) bool {
	return strings.HasPrefix(s, "falconer: ") && strings.Count(s, "\n") == 1 && len(s) < 600
}

// --keep leaves what proves the verdict.
func TestKeep(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "stolen-key"))
	for _, flag := range []string{"--keep", "--keep=" + filepath.Join(a.home, "deep", "evidence")} {
		o := a.falconer("scan", "--format=json", flag, dir)
		r := one(t, o)
		_, at, ok := strings.Cut(flag, "=")
		if !ok {
			at = filepath.Join(a.home, "falconer-evidence")
		}
		read := func(name string) string {
			b, err := os.ReadFile(filepath.Join(at, string(r.ScanID), name))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if kept := results(t, read("result.json")); len(kept) != 1 || kept[0].ScanID != r.ScanID || kept[0].Verdict != finding.Malicious {
			t.Errorf("%s: result.json: %+v", flag, kept)
		}
		if out := read("output.log"); !strings.Contains(out, "postinstall") || int64(len(out)) != r.Counts.OutputBytes {
			t.Errorf("%s: output.log of %d bytes, %d were written:\n%s", flag, len(out), r.Counts.OutputBytes, out)
		}
		if lines := strings.Split(strings.TrimSpace(read("alerts.jsonl")), "\n"); int64(len(lines)) != r.Counts.Alerts || !strings.Contains(lines[0], "/.ssh/id_rsa") {
			t.Errorf("%s: %d lines for %d alerts:\n%s", flag, len(lines), r.Counts.Alerts, lines)
		}
		var types []string
		for line := range strings.Lines(read("events.jsonl")) {
			var e struct{ Type string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			types = append(types, e.Type)
		}
		for _, want := range []string{"scan.requested", "scan.started", "falco.alert", "sandbox.exited", "scan.finished"} {
			if !slices.Contains(types, "dev.falconer."+want+".v1") {
				t.Errorf("%s: no %s among the events %q", flag, want, types)
			}
		}
	}
}

// --offline installs from the caches alone, and says what they lack.
func TestOffline(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "benign-postinstall"))
	if o := a.falconer("scan", dir); o.code != 0 {
		t.Fatalf("exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	a.env = append(a.env, "npm_config_registry=http://"+closedPort(t)+"/") // the last one counts
	o := a.falconer("scan", "--format=json", "--offline", dir)
	if r := one(t, o); o.code != 0 || len(r.Fetches) != 1 || !r.Fetches[0].Cached {
		t.Errorf("from our own cache: exit code %d, fetches %+v, incomplete %q", o.code, r.Fetches, r.Incomplete)
	}
	a.env = append(a.env, "XDG_CACHE_HOME="+filepath.Join(a.home, "empty"))
	o = a.falconer("scan", "--quiet", "--format=json", "--offline", dir)
	if o.code != 4 || o.out != "" || !oneLine(o.errout) || !strings.Contains(o.errout, "falconer-corpus-greeting@1.0.0: not in the cache") {
		t.Errorf("from an empty cache: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	a.env = append(a.env, "npm_config_registry="+shared.registry)
	cache := filepath.Join(a.home, "npm-cache")
	a.npm(dir, "ci", "--ignore-scripts", "--cache="+cache)
	if err := os.RemoveAll(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	a.env = append(a.env, "npm_config_registry="+strings.Replace(shared.registry, "127.0.0.1", "localhost", 1))
	o = a.falconer("scan", "--format=json", "--offline", "--cache="+cache, dir)
	if r := one(t, o); o.code != 0 {
		t.Errorf("from npm's cache: exit code %d, incomplete %q", o.code, r.Incomplete)
	}
}
