package toml_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/ecosystem/toml"
)

func TestParse(t *testing.T) {
	const text = `# made by a machine
version = 3
'quoted' = "a\tb\u00e9\"" # comment
literal = 'C:\x'
[[package]]
name = "a"
dependencies = [
 "b", # why
 "c 1.0",
]
on = true
[package.optional-dependencies]
x = [ { name = "y", "z z" = { deep = -1 } }, ]
[[package]]
name = "b"
[package.optional-dependencies]
x = []
[metadata]
a.b = ""
a.c = {}
`
	want := toml.Table{
		"version": int64(3), "quoted": "a\tb\u00e9\"", "literal": `C:\x`,
		"package": []toml.Table{
			{"name": "a", "dependencies": []any{"b", "c 1.0"}, "on": true,
				"optional-dependencies": toml.Table{"x": []any{toml.Table{"name": "y", "z z": toml.Table{"deep": int64(-1)}}}}},
			{"name": "b", "optional-dependencies": toml.Table{"x": []any{}}},
		},
		"metadata": toml.Table{"a": toml.Table{"b": "", "c": toml.Table{}}},
	}
	for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n"), "\ufeff" + text} {
		got, err := toml.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a key twice":             "a = 1\na = 2",
		"a key twice, quoted":     "a = 1\n\"a\" = 2",
		"a table twice":           "[a]\n[a]",
		"a table over a value":    "a = 1\n[a]",
		"a table over an array":   "[[a]]\n[a]",
		"an array over a table":   "[a]\n[[a]]",
		"an array over a value":   "a = []\n[[a]]",
		"a value for a table":     "[a.b]\n[x]\n[a]\nb = 1",
		"several lines":           `a = """x"""`,
		"a date":                  "a = 2020-01-01",
		"a float":                 "a = 1.5",
		"no value":                "a =",
		"no key":                  "= 1",
		"two on a line":           "a = 1 b = 2",
		"an open string":          `a = "x`,
		"an open string's escape": `a = "x\`,
		"a line end in a string":  "a = \"x\ny\"",
		"an unknown escape":       `a = "\x41"`,
		"a surrogate":             `a = "\ud800"`,
		"an open array":           "a = [1",
		"no comma":                "a = [1 2]",
		"an open inline table":    "a = {b = 1",
		"an open header":          "[a",
		"half an array's header":  "[[a]",
		"three brackets":          "[[[a]]]",
		"deep arrays":             "a = " + strings.Repeat("[", toml.MaxDepth+2) + strings.Repeat("]", toml.MaxDepth+2),
		"deep tables":             "a = " + strings.Repeat("{a=", 1_000_000),
		"deep keys":               strings.Repeat("a.", toml.MaxDepth) + "a = 1",
		"not UTF-8":               "a = \"\xff\"",
	} {
		if got, err := toml.Parse([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[[a]]\nb = [{c = 'd'}, 1, true]\n[a.x]\n\"y\" = \"\\n\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := toml.Parse(b)
		if err == nil && doc == nil {
			t.Error("nothing, and no error")
		}
	})
}
