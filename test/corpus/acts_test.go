package corpus_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/test/corpus"
)

func everything(string) bool { return true }

// Each act makes projects that npm can install, in which every variant that
// acts is expected to be found, once, and nobody else.
func TestActs(t *testing.T) {
	acts, err := corpus.Acts()
	if err != nil || len(acts) < 16 {
		t.Fatalf("%d acts, %v", len(acts), err)
	}
	seen := map[string]bool{}
	for _, a := range acts {
		cases, err := a.Cases(everything)
		if err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
		var expected, wanted []string
		for _, c := range cases {
			files, err := c.Project()
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for name, b := range files {
				fsys[name] = &fstest.MapFile{Data: b}
			}
			p, err := npm.Manager{}.Load(fsys, ".")
			if err != nil || len(p.Problems) > 0 {
				t.Errorf("%s: %v, problems %q", c.Name, err, p.Problems)
			}
			checkExpect(t, c.Expect, p)
			for _, f := range c.Expect.Findings {
				expected = append(expected, f.Package)
			}
		}
		for _, v := range a.Variants {
			if seen[v.Package] {
				t.Errorf("%s is there twice", v.Package)
			}
			if seen[v.Package] = true; v.Script != "" {
				wanted = append(wanted, "pkg:npm/"+v.Package+"@1.0.0")
			}
		}
		if len(a.Number) != 2 || !slices.Equal(expected, wanted) {
			t.Errorf("%s: %q expected, %q act", a.Name, expected, wanted)
		}
	}
}

// What a machine can't run is left out, and never what needs node alone.
func TestActsWithoutPrograms(t *testing.T) {
	acts, err := corpus.Acts()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range acts {
		cases, err := a.Cases(func(program string) bool { return program != "python3" })
		if err != nil || len(cases) == 0 {
			t.Fatalf("%s: %d cases, %v", a.Name, len(cases), err)
		}
		for _, v := range a.Variants {
			expected := slices.ContainsFunc(cases, func(c corpus.Case) bool {
				return slices.ContainsFunc(c.Expect.Findings, func(f corpus.Finding) bool { return strings.HasPrefix(f.Package, "pkg:npm/"+v.Package+"@") })
			})
			if want := v.Script != "" && v.Needs != "python3"; expected != want {
				t.Errorf("%s: expected %v", v.Package, expected)
			}
		}
	}
}
