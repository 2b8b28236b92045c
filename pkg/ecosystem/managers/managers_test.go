package managers_test

import (
	"regexp"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
)

// Every manager says what the rest has to know of it, before anything is known
// of the sandbox.
func TestManagers(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	versions := map[string]string{}
	for _, m := range managers.All() {
		t.Run(m.Name(), func(t *testing.T) {
			if !name.MatchString(m.Name()) {
				t.Error("its name is not lower-case letters")
			}
			p := ecosystem.Project{Manager: m.Name(), Root: "."}
			bare := m.Recipe(p, ecosystem.Setting{})
			r := m.Recipe(p, ecosystem.Setting{Registry: "http://127.0.0.1:4873/", Home: "/root", Work: "/builds/project", NodeDir: "/usr", Import: true})
			if bare.Version == "" || bare.Version != r.Version || bare.Image == "" || bare.Image != r.Image || bare.Registry != r.Registry || bare.Cache != r.Cache {
				t.Errorf("without a sandbox: version %q, image %q, registry %q, cache %q; in one: %q, %q, %q, %q",
					bare.Version, bare.Image, bare.Registry, bare.Cache, r.Version, r.Image, r.Registry, r.Cache)
			}
			if other, taken := versions[bare.Version]; taken {
				t.Errorf("its recipe has the version of %s", other)
			}
			versions[bare.Version] = m.Name()
			if len(r.Programs) == 0 || len(r.Argv) == 0 || r.Programs[0].Name != r.Argv[0] {
				t.Errorf("it starts %q and needs %q", r.Argv, r.Names())
			}
			for _, program := range r.Programs {
				if program.Hint == "" {
					t.Errorf("nothing says how to get %s", program.Name)
				}
			}
			if len(bare.Steps) != 0 {
				t.Errorf("it loads packages though it was not asked to: %+v", bare.Steps)
			}
			if roots, err := m.Detect(fstest.MapFS{"README.md": {Data: []byte("x")}}); err != nil || len(roots) != 0 {
				t.Errorf("in a source without a project it detects %q, %v", roots, err)
			}
		})
	}
	if len(managers.ByName()) != len(managers.All()) {
		t.Error("two managers have one name")
	}
}
