package registry_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

// BenchmarkPrefetchCached fills a scan's cache with 1,000 packages that are
// all in the shared one.
func BenchmarkPrefetchCached(b *testing.B) {
	reg := registrytest.New()
	var all []registrytest.Package
	for i := range 1000 {
		p, err := reg.Add(registrytest.Files{"package.json": fmt.Sprintf(`{"name":"p%d","version":"1.0.0"}`, i)})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, p)
	}
	m, err := registry.New(registry.Options{Config: registry.Config{Registry: reg.Start(b)}, Cache: b.TempDir(), Backoff: time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	project, top := pinned(all...), b.TempDir()
	if _, err := m.Prefetch(b.Context(), project, filepath.Join(top, "first"), registry.DefaultBase); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		if _, err := m.Prefetch(b.Context(), project, filepath.Join(top, fmt.Sprint(i)), registry.DefaultBase); err != nil {
			b.Fatal(err)
		}
	}
}
