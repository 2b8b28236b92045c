package node_test

import (
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/node"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// The folder in which pnpm keeps a package tells its version; one that the
// lockfile does not have is named, and has no version.
func TestPlace(t *testing.T) {
	one := finding.Package{Name: "a", Version: "1.0.0", Path: "node_modules/.pnpm/a@1.0.0/node_modules/a"}
	ten := finding.Package{Name: "a", Version: "1.0.0-beta.1", Path: "node_modules/.pnpm/a@1.0.0-beta.1/node_modules/a"}
	p := ecosystem.Project{Packages: []ecosystem.Package{{Package: one}, {Package: ten},
		{Package: finding.Package{Name: "web", Path: "apps/web"}, Link: true}, {Package: finding.Package{Name: "git", Version: "1.0.0"}, Foreign: true}}}
	for dir, want := range map[string]string{
		"/w/node_modules/.pnpm/a@1.0.0/node_modules/a":                "a 1.0.0",
		"/w/node_modules/.pnpm/a@1.0.0_react@18.0.0/node_modules/a":   "a 1.0.0",
		"/w/node_modules/.pnpm/a@1.0.0-beta.1/node_modules/a/lib":     "a 1.0.0-beta.1",
		"/w/node_modules/.pnpm/a@2.0.0/node_modules/a":                "a ",
		"/w/node_modules/.pnpm/evil@1.0.0/node_modules/evil":          "evil ",
		"/w/node_modules/.pnpm/a@1.0.0/node_modules/a/../../../../..": " ",
		"/w/apps/web":               "web ",
		"/w":                        " ",
		"/elsewhere/node_modules/a": " ",
	} {
		at, ok := node.Place(p, ecosystem.Setting{Work: "/w"}, ecosystem.Exec{Cwd: dir, Env: []string{"npm_lifecycle_event=install"}})
		if got := at.Package.Name + " " + at.Package.Version; !ok || got != want || at.Script != "install" {
			t.Errorf("%s: %+v, %v", dir, at, ok)
		}
	}
	for name, env := range map[string][]string{
		"no script":                {"PATH=/bin"},
		"another folder's":         {"npm_lifecycle_event=install", "npm_package_json=/other/package.json"},
		"a script without a bound": {"npm_lifecycle_event=" + strings.Repeat("x", 65)},
	} {
		if at, ok := node.Place(p, ecosystem.Setting{Work: "/w"}, ecosystem.Exec{Cwd: "/w", Env: env}); ok {
			t.Errorf("%s: %+v", name, at)
		}
	}
}

func TestMatchWorkspace(t *testing.T) {
	for dir, want := range map[string]bool{"apps/web": true, "apps/alone": false, "apps/web/sub": false, "libs/a/b": true, "x/one": true, "x/three": false} {
		if got := node.MatchWorkspace([]string{"./apps/*", "!apps/alone", "libs/**", "x/{one,two}", "[", strings.Repeat("*", 300)}, dir); got != want {
			t.Errorf("%s: %v", dir, got)
		}
	}
	if node.MatchWorkspace(append(make([]string, 200), "a"), "a") {
		t.Error("the 201st pattern is looked at")
	}
}

// What can't be a package is refused; what can't be trusted is a problem.
func TestEntries(t *testing.T) {
	for name, p := range map[string]ecosystem.Package{
		"no name":    {Package: finding.Package{Version: "1.0.0"}},
		"a path":     {Package: finding.Package{Name: "../a", Version: "1.0.0"}},
		"a folder":   {Package: finding.Package{Name: "node_modules", Version: "1.0.0"}},
		"long":       {Package: finding.Package{Name: strings.Repeat("a", 257), Version: "1.0.0"}},
		"no version": {Package: finding.Package{Name: "a"}},
		"a tag":      {Package: finding.Package{Name: "a", Version: "latest"}},
	} {
		var e node.Entries
		if err := e.Add("x", p, false); fault.KindOf(err) != fault.Invalid || len(e.Packages()) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	var e node.Entries
	secret := ecosystem.Package{Package: finding.Package{Name: "a", Version: "1.0.0"}, Resolved: "https://ci:hunter2@example.com/a.tgz"}
	for range 2 {
		if err := e.Add("a", secret, false); err != nil {
			t.Fatal(err)
		}
	}
	if list := e.List(); len(e.Packages()) != 1 || len(list) != 1 || strings.Contains(list[0], "hunter2") || strings.Contains(e.Packages()[0].PURL, "hunter2") {
		t.Errorf("%q, %+v", list, e.Packages())
	}
	for range node.MaxProblems + 5 {
		e.Problems.Add("x")
	}
	if list := e.List(); len(list) != node.MaxProblems+1 || list[node.MaxProblems] != "and 6 more problems like these" {
		t.Errorf("%d problems, the last %q", len(list), list[len(list)-1])
	}
}

// What a source says of workspaces is matched, and ends.
func FuzzMatchWorkspace(f *testing.F) {
	f.Add("!a/{b,c}/**", "a/b/c")
	f.Add("[", "")
	f.Fuzz(func(_ *testing.T, patterns, dir string) { node.MatchWorkspace(strings.Split(patterns, "\n"), dir) })
}
