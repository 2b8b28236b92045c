package images

import (
	"os"
	"strings"
	"testing"
)

// TestShellIsWhereScriptsLookForIt: on a machine where /bin is a link to
// /usr/bin, PATH may well name the latter alone.
func TestShellIsWhereScriptsLookForIt(t *testing.T) {
	t.Setenv("PATH", strings.ReplaceAll(os.Getenv("PATH"), ":/bin", ""))
	h := host{ctx: t.Context(), tree: newTree()}
	if err := h.programs(); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.tree["/bin"]; !ok {
		if _, ok = h.tree["/bin/sh"]; !ok {
			t.Error("the image has no /bin/sh")
		}
	}
}
