package output_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/sandbox/output"
)

func TestBounds(t *testing.T) {
	o := output.New(10, nil)
	for range 100 {
		_, _ = o.Write([]byte(strings.Repeat("\u00e4", 1000))) // never fails
	}
	_, _ = o.Write([]byte("\xff the end\n"))
	tail := o.Tail()
	if o.Total() != 200_010 || len(tail) > output.TailBytes+4 || !utf8.ValidString(tail) || !strings.HasSuffix(tail, "\uFFFD the end\n") {
		t.Errorf("total %d, tail of %d bytes", o.Total(), len(tail))
	}
	if got := o.LastLine(); len(got) > output.MaxLine {
		t.Errorf("last line of %d bytes", len(got))
	}
	at := filepath.Join(t.TempDir(), "log")
	if err := o.Save(at); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(at); !strings.HasPrefix(string(text), strings.Repeat("\u00e4", 5)+"\n[... cut ...]\n") || len(text) > 20<<10 {
		t.Errorf("saved %d bytes", len(text))
	}
}

func TestProgress(t *testing.T) {
	var lines []string
	o := output.New(0, func(l string) { lines = append(lines, l) })
	for _, s := range []string{"a\nb", "c\n", strings.Repeat("x", 1000), "\n\xff\nrest"} {
		_, _ = o.Write([]byte(s)) // never fails
	}
	if diff := cmp.Diff([]string{"a", "bc", strings.Repeat("x", output.MaxLine), "\uFFFD"}, lines); diff != "" {
		t.Error(diff)
	}
	if got := o.LastLine(); got != "rest" {
		t.Errorf("last line %q", got)
	}
}
