package seccomp_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/seccomp"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Size of the benchmark's install: what a small web application has.
const (
	benchPackages = 90
	benchFiles    = 60
	benchFileSize = 6 << 10
	benchScripts  = 10 // every tenth package has one, which starts node
)

// orchard publishes the packages and writes a project that installs them.
func orchard(b *testing.B) (*registrytest.Registry, string, ecosystem.Project) {
	b.Helper()
	reg := registrytest.New()
	lock := map[string]any{"": map[string]any{"name": "bench", "version": "1.0.0"}}
	needs := map[string]string{}
	for i := range benchPackages {
		name := fmt.Sprintf("bench-%d", i)
		files := registrytest.Files{"package.json": fmt.Sprintf(`{"name":%q,"version":"1.0.0"}`, name)}
		if i%benchScripts == 0 {
			files["package.json"] = fmt.Sprintf(`{"name":%q,"version":"1.0.0","scripts":{"postinstall":"node index-1.js"}}`, name)
		}
		for j := range benchFiles {
			files[fmt.Sprintf("index-%d.js", j)] = "//" + strings.Repeat("x", benchFileSize) + "\n"
		}
		pkg, err := reg.Add(files)
		if err != nil {
			b.Fatal(err)
		}
		needs[name] = "1.0.0"
		lock["node_modules/"+name] = map[string]any{"version": "1.0.0", "integrity": pkg.Integrity, "hasInstallScript": pkg.HasInstallScript()}
	}
	lock[""].(map[string]any)["dependencies"] = needs
	dir := b.TempDir()
	for name, v := range map[string]any{
		"package.json":      map[string]any{"name": "bench", "version": "1.0.0", "dependencies": needs},
		"package-lock.json": map[string]any{"name": "bench", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": lock},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	p, err := npm.Manager{}.Load(os.DirFS(dir), ".")
	if err != nil {
		b.Fatal(err)
	}
	return reg, dir, p
}

// BenchmarkNative installs with npm alone.
func BenchmarkNative(b *testing.B) {
	reg, dir, p := orchard(b)
	address := reg.Start(b) + "/"
	for b.Loop() {
		b.StopTimer()
		work, home := b.TempDir(), b.TempDir()
		if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		r := npm.Manager{}.Recipe(p, ecosystem.Setting{Registry: address, Home: home, Work: work})
		cmd := exec.CommandContext(b.Context(), r.Argv[0], r.Argv[1:]...)
		cmd.Dir, cmd.Env = work, append([]string{"PATH=" + os.Getenv("PATH")}, r.Env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

// BenchmarkWatched installs under the supervisor, rules included.
func BenchmarkWatched(b *testing.B) {
	reg, dir, p := orchard(b)
	d, err := seccomp.New(seccomp.Config{Rules: shipped(b), TempDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	var events int64
	for b.Loop() {
		r, err := d.Run(b.Context(), sandbox.Spec{ScanID: scan.Key{Project: b.Name()}.ID(), Dir: dir, Project: p, Manager: npm.Manager{}, Registry: reg,
			Limits: sandbox.Limits{Wall: time.Minute}}, &alertLog{})
		if err != nil || r.Sandbox.Reason != "completed" {
			b.Fatalf("%v, %+v", err, r)
		}
		events += r.SensorEvents
	}
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}

// BenchmarkStart runs a program that does nothing.
func BenchmarkStart(b *testing.B) {
	d := driver(b, b.TempDir())
	s := sandbox.Spec{ScanID: scan.Key{Project: b.Name()}.ID(), Dir: b.TempDir(), Manager: shell{"exec true"}, Limits: sandbox.Limits{Wall: time.Minute}}
	for b.Loop() {
		if r, err := d.Run(b.Context(), s, &alertLog{}); err != nil || r.Sandbox.Reason != "completed" {
			b.Fatalf("%v, %+v", err, r)
		}
	}
}

// BenchmarkOpen opens a file that no rule looks at, and one that is reported,
// a hundred thousand times each.
func BenchmarkOpen(b *testing.B) {
	d := driver(b, b.TempDir())
	for _, tt := range []struct{ name, path string }{{"system", "/usr/bin/env"}, {"project", "package.json"}} {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() {
				m := shell{`perl -e 'for (1..100_000) { open(F, "<", "` + tt.path + `") }'`}
				s := sandbox.Spec{ScanID: scan.Key{Project: b.Name()}.ID(), Dir: b.TempDir(), Manager: m, Limits: sandbox.Limits{Wall: time.Minute}}
				if r, err := d.Run(b.Context(), s, &alertLog{}); err != nil || r.Sandbox.Reason != "completed" {
					b.Fatalf("%v, %+v", err, r)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/open")
		})
	}
}
