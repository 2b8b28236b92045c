package unscanned_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem/unscanned"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Every project is found once, and refused with a reason that names its file.
func TestRefused(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, name := range []string{"pom.xml", "core/pom.xml", "app/build.gradle.kts", "app/x/build.gradle", "lib/settings.gradle", "py/Pipfile.lock", "both/Pipfile.lock", "both/uv.lock",
		"web/yarn.lock", "web/package.json", "web/docs/yarn.lock", "web/docs/package.json", "npm/yarn.lock", "npm/package.json", "npm/package-lock.json", "alone/yarn.lock", "alone/bun.lock",
		"web/node_modules/a/yarn.lock", "web/node_modules/a/package.json", "bun/bun.lockb", "bun/package.json", "bun/new/bun.lock", "bun/new/bun.lockb", "bun/new/package.json"} {
		fsys[name] = &fstest.MapFile{}
	}
	want := map[string][]string{"maven": {"."}, "gradle": {"app", "lib"}, "pipenv": {"py"}, "yarn": {"npm", "web", "web/docs"}, "bun": {"bun", "bun/new"}}
	files := map[string]string{"maven .": "pom.xml", "gradle app": "app/build.gradle.kts", "gradle lib": "lib/settings.gradle", "pipenv py": "py/Pipfile.lock",
		"yarn npm": "npm/yarn.lock", "yarn web": "web/yarn.lock", "yarn web/docs": "web/docs/yarn.lock", "bun bun": "bun/bun.lockb", "bun bun/new": "bun/new/bun.lock"}
	for _, m := range unscanned.Managers() {
		roots, err := m.Detect(fsys)
		if err != nil || !slices.Equal(roots, want[m.Name()]) {
			t.Errorf("%s: %q, %v", m.Name(), roots, err)
		}
		for _, root := range roots {
			_, err := m.Load(fsys, root)
			if fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), " "+files[m.Name()+" "+root]+" ") {
				t.Errorf("%s in %s: %v", m.Name(), root, err)
			}
		}
	}
	if len(want) != len(unscanned.Managers()) {
		t.Error("a manager is not looked at")
	}
}
