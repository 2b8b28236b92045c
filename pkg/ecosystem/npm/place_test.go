package npm

import (
	"testing"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

func TestPlace(t *testing.T) {
	a := finding.Package{Name: "a", Version: "1.0.0", Path: "node_modules/a", PURL: "pkg:npm/a@1.0.0"}
	inner := finding.Package{Name: "inner", Version: "2.0.0", Path: "node_modules/a/node_modules/inner", PURL: "pkg:npm/inner@2.0.0"}
	git := finding.Package{Name: "fromgit", Version: "1.0.0", Path: "node_modules/fromgit", PURL: "pkg:npm/fromgit@1.0.0"}
	root := finding.Package{Path: "."}
	p := ecosystem.Project{Packages: []ecosystem.Package{{Package: a}, {Package: inner}, {Package: git, Foreign: true}}}
	s := ecosystem.Setting{Work: "/builds"}
	env := func(event, dir string) []string {
		return []string{"PATH=/bin", "npm_lifecycle_event=" + event, "npm_lifecycle_script=x", "npm_package_json=" + dir + "/package.json"}
	}
	sh := []string{"sh", "-c", "x"}
	for name, tt := range map[string]struct {
		exec ecosystem.Exec
		want finding.Package
		not  bool
	}{
		"installed":          {ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/a", Env: env("install", "/builds/node_modules/a")}, a, false},
		"nested":             {ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/a/node_modules/inner", Env: env("install", "/builds/node_modules/a/node_modules/inner")}, inner, false},
		"bundled, unlisted":  {ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/a/node_modules/b", Env: env("install", "/builds/node_modules/a/node_modules/b")}, a, false},
		"name with a prefix": {ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/ab", Env: env("install", "/builds/node_modules/ab")}, root, false},
		"project":            {ecosystem.Exec{Argv: sh, Cwd: "/builds", Env: env("install", "/builds")}, root, false},
		"git dependency": {ecosystem.Exec{Argv: sh, Cwd: "/home/u/.npm/_cacache/tmp/git-cloneX",
			Env: append(env("install", "/home/u/.npm/_cacache/tmp/git-cloneX"), "npm_package_name=fromgit")}, git, false},
		"other folder's manifest":   {ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/a", Env: env("install", "/builds")}, a, true},
		"other script":              {ecosystem.Exec{Argv: []string{"sh", "-c", "y"}, Cwd: "/builds", Env: env("install", "/builds")}, root, true},
		"not a shell":               {ecosystem.Exec{Argv: []string{"git", "-c", "x"}, Cwd: "/builds", Env: env("install", "/builds")}, root, true},
		"no command":                {ecosystem.Exec{Argv: []string{"sh"}, Cwd: "/builds", Env: env("install", "/builds")}, root, true},
		"no environment, elsewhere": {ecosystem.Exec{Argv: sh, Cwd: "/tmp"}, root, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Manager{}.Place(p, s, tt.exec)
			if ok == tt.not || ok && (got.Package != tt.want || got.Script != "install" || got.Phase != "install") {
				t.Errorf("Place = %+v, %v; want %+v", got, ok, tt.want)
			}
		})
	}
	t.Run("environment cut off", func(t *testing.T) {
		got, ok := Manager{}.Place(p, s, ecosystem.Exec{Argv: sh, Cwd: "/builds/node_modules/a", Env: []string{"PATH=/bin"}})
		if !ok || got.Package != a || got.Script != "" {
			t.Errorf("Place = %+v, %v; want a without a script", got, ok)
		}
	})
}
