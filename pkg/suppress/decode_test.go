package suppress_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

var update = flag.Bool("update", false, "rewrite what is wanted in testdata/errors.txtar")

const entry = `version: 1
suppressions:
  - package: pkg:npm/esbuild
    version: ">=0.21.0 <0.26.0"
    rule: Download in a lifecycle script
    detail: file:/usr/bin/curl
    owner: platform@example.com
    reason: fetches its native binary
    expires: 2026-12-31
`

func TestDecode(t *testing.T) {
	got, err := suppress.Decode("s.yaml", []byte(entry))
	want := suppress.File{Name: "s.yaml", Entries: []scan.Suppression{{Source: "s.yaml", Line: 3, Package: "pkg:npm/esbuild", Version: ">=0.21.0 <0.26.0", Rule: "Download in a lifecycle script",
		Detail: "file:/usr/bin/curl", Owner: "platform@example.com", Reason: "fetches its native binary", Expires: "2026-12-31"}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "version: 1\n", "version: 1\nsuppressions: []\n", "version: 1\nsuppressions:\n"} {
		if f, err := suppress.Decode("s.yaml", []byte(empty)); err != nil || len(f.Entries) != 0 {
			t.Errorf("%q: %+v, %v", empty, f, err)
		}
	}
	exact, err := suppress.Decode("s.yaml", []byte(strings.NewReplacer("pkg:npm/esbuild", `"pkg:npm/@acme/x@1.0.0"`, `    version: ">=0.21.0 <0.26.0"`+"\n", "").Replace(entry)))
	if err != nil || exact.Entries[0].Package != "pkg:npm/%40acme/x" || exact.Entries[0].Version != "1.0.0" {
		t.Errorf("%+v, %v", exact, err)
	}
}

// The example of the documentation is one.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "baselines.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if f, err := suppress.Decode(suppress.FileName, []byte(example)); !found || err != nil || len(f.Entries) != 1 || f.Entries[0].Root != "web" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestErrors holds files that are refused to the words they are refused with.
func TestErrors(t *testing.T) {
	name := filepath.Join("testdata", "errors.txtar")
	all, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(all.Files); i += 2 {
		in, want := all.Files[i], &all.Files[i+1]
		_, err := suppress.Decode("f.yaml", in.Data)
		got := "no error\n"
		if err != nil {
			got = err.Error() + "\n"
		}
		if err == nil || fault.KindOf(err) != fault.Invalid || !strings.HasPrefix(got, "f.yaml:") {
			t.Errorf("%s: %q", in.Name, got)
		}
		if *update {
			want.Data = []byte(got)
		} else if got != string(want.Data) {
			t.Errorf("%s: got %swant %s", in.Name, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(all), 0o644); err != nil { //nolint:gosec // a golden
			t.Fatal(err)
		}
	}
}

func TestDecodeBounds(t *testing.T) {
	one := strings.TrimPrefix(entry, "version: 1\nsuppressions:\n")
	for name, text := range map[string]string{
		"large":     entry + "#" + strings.Repeat("x", suppress.MaxFile),
		"long text": strings.Replace(entry, "fetches", strings.Repeat("x", 501), 1),
		"not UTF-8": entry + "# \xff",
		"nested":    "version: 1\nsuppressions: " + strings.Repeat("[", 10_000),
		"billion":   "a: &a [x,x]\nb: &b [*a,*a]\nversion: 1\nsuppressions: [*b,*b]\n",
	} {
		if _, err := suppress.Decode("f.yaml", []byte(text)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := "version: 1\nsuppressions:\n" + strings.Repeat(one, suppress.MaxEntries)
	if f, err := suppress.Decode("f.yaml", []byte(many)); err != nil || len(f.Entries) != suppress.MaxEntries {
		t.Errorf("%d entries, %v", len(f.Entries), err)
	}
	if _, err := suppress.Decode("f.yaml", []byte(many+one)); err == nil {
		t.Error("one too many is taken")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(entry))
	if all, err := txtar.ParseFile(filepath.Join("testdata", "errors.txtar")); err == nil {
		for i := 0; i < len(all.Files); i += 2 {
			f.Add(all.Files[i].Data)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := suppress.Decode("f.yaml", b)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "f.yaml:") || len(text) > 1000 || strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				t.Errorf("error %q", text)
			}
			return
		}
		for _, e := range file.Entries {
			if e.Package == "" || e.Rule == "" || e.Owner == "" || e.Reason == "" || e.Expires == "" || e.Version+e.Integrity == "" || e.Line < 1 || e.Void != "" {
				t.Errorf("%+v", e)
			}
		}
		p := suppress.Sources{Own: file}.Policy(".", map[string]bool{"npm": true})
		r := scan.Request{ID: scan.Key{}.ID(), Project: "p", Manager: "npm", Root: ".", Source: scan.Source{Object: "o", Digest: "d"}, Policy: p}
		if err := r.Validate(); err != nil {
			t.Errorf("a policy that no request may have: %v", err)
		}
	})
}
