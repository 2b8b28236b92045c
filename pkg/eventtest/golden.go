package eventtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// Golden runs a test for each testdata/*.txtar, and compares what it returns
// with the last file of the archive. With update, that file is rewritten. No
// archives are a failure.
func Golden(t *testing.T, update bool, test func(t *testing.T, a *txtar.Archive) []byte) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil || len(a.Files) == 0 {
				t.Fatalf("%s: %d files, %v", path, len(a.Files), err)
			}
			last := &a.Files[len(a.Files)-1]
			got := test(t, a)
			if update {
				last.Data = got
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(last.Data), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", last.Name, diff)
			}
		})
	}
}
