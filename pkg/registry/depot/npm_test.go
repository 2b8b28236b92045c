package depot_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// TestRealNPM installs as a scan's pod does: the source by its ticket, then npm
// ci through the registry, whose address is a long path. Lockfiles name other
// registries, with paths of their own, or none.
func TestRealNPM(t *testing.T) {
	program, err := exec.LookPath("npm")
	if err != nil {
		t.Fatal("no npm on this machine: this test needs the real client")
	}
	for name, resolved := range map[string]string{
		"no addresses":       "",
		"another registry":   "https://registry.example.com/%s/-/%s-1.0.0.tgz",
		"one below a path":   "https://example.com/repository/npm/%s/-/%s-1.0.0.tgz",
		"one with odd names": "https://example.com/api/npm/%s/-/%s-1.0.0.tgz?x=y",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, depot.Limits{})
			for _, p := range []string{"a", "@acme/b"} {
				_, err := r.npm.Add(registrytest.Files{"package.json": `{"name":"` + p + `","version":"1.0.0","scripts":{"postinstall":"echo ran > ran"}}`})
				r.must(err)
			}
			id := r.scanOf("acme/shop", project(t, r, resolved))
			status, archive := r.get(r.path(ticket.Source, id))
			if status != 200 {
				t.Fatal(status)
			}
			work := filepath.Join(t.TempDir(), "work")
			_, err := source.Unpack(t.Context(), strings.NewReader(archive), work, source.Limits{})
			r.must(err)
			p, err := npm.Manager{}.Load(os.DirFS(work), ".")
			r.must(err)
			recipe := npm.Manager{}.Recipe(p, ecosystem.Setting{Registry: r.server.URL + r.path(ticket.NPM, id) + "/", Home: t.TempDir(), Work: work})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, recipe.Argv[1:]...)
			cmd.Dir, cmd.Env = work, append([]string{"PATH=" + os.Getenv("PATH")}, recipe.Env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%+v", err, out, r.log(id))
			}
			for _, f := range []string{"a/ran", "@acme/b/ran"} {
				if _, err := os.Stat(filepath.Join(work, "node_modules", f)); err != nil {
					t.Error(err)
				}
			}
			archives := 0
			for _, f := range r.log(id).Fetches {
				if f.Version == "1.0.0" && f.Refused == "" && f.Integrity != "" {
					archives++
				}
			}
			if archives != 2 {
				t.Errorf("%+v", r.log(id))
			}
		})
	}
}

// project writes a project that needs both packages.
func project(t *testing.T, r *rig, resolved string) string {
	t.Helper()
	var lock bytes.Buffer
	lock.WriteString(`{"name":"project","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"project","version":"1.0.0","dependencies":{"a":"1.0.0","@acme/b":"1.0.0"}}`)
	for _, name := range []string{"a", "@acme/b"} {
		p, err := r.npm.Get(name, "1.0.0")
		r.must(err)
		lock.WriteString(`,"node_modules/` + name + `":{"version":"1.0.0","hasInstallScript":true,"integrity":"` + p.Integrity + `"`)
		if resolved != "" {
			address := strings.Replace(strings.Replace(resolved, "%s", name, 1), "%s", filepath.Base(name), 1)
			lock.WriteString(`,"resolved":"` + address + `"`)
		}
		lock.WriteString("}")
	}
	lock.WriteString("}}")
	dir := t.TempDir()
	r.must(os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"name":"project","version":"1.0.0","dependencies":{"a":"1.0.0","@acme/b":"1.0.0"}}`), 0o600))
	r.must(os.WriteFile(filepath.Join(dir, "package-lock.json"), lock.Bytes(), 0o600))
	return dir
}
