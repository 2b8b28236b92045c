package folder_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry/folder"
)

func TestPrefetch(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a.whl": "aaa", "sub/b.whl": "bb"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	g := folder.Gateway{Kind: "pypi", Dir: from}
	got, err := g.Prefetch(t.Context(), ecosystem.Project{}, filepath.Join(to, "cache"), "")
	if err != nil || got.Bytes != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "cache", "sub", "b.whl")); err != nil || string(b) != "bb" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(to, "cache", "link")); err == nil {
		t.Error("a link was taken over")
	}
	w := httptest.NewRecorder()
	gate := g.Gate(ecosystem.Project{}, "")
	gate.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/simple/", nil))
	if fetches, n := gate.Fetches(); w.Code != http.StatusNotFound || len(fetches) != 0 || n != 0 || gate.Problems() != nil {
		t.Errorf("status %d", w.Code)
	}
}

func TestPrefetchRefuses(t *testing.T) {
	p := ecosystem.Project{Manager: "pip"}
	_, err := folder.Gateway{Kind: "pypi"}.Prefetch(t.Context(), p, t.TempDir(), "")
	if fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), "--packages pypi=DIR") {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := (folder.Gateway{Kind: "pypi", Dir: filepath.Join(t.TempDir(), "gone")}).Prefetch(t.Context(), p, t.TempDir(), ""); fault.KindOf(err) != fault.Permanent {
		t.Errorf("a folder that is not there: %v", err)
	}
	deep := t.TempDir()
	if err := os.MkdirAll(filepath.Join(deep, strings.Repeat("d/", folder.MaxDepth+2)), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (folder.Gateway{Kind: "pypi", Dir: deep}).Prefetch(t.Context(), p, t.TempDir(), ""); fault.KindOf(err) != fault.Permanent {
		t.Errorf("a deep folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (folder.Gateway{Kind: "pypi", Dir: t.TempDir()}).Prefetch(ctx, p, t.TempDir(), ""); err == nil {
		t.Error("it went on after its context's end")
	}
}
