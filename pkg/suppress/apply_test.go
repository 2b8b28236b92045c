package suppress_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// hash is an integrity string.
func hash(c byte) string {
	return "sha512-" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(c)), 64)))
}

func found(purl, version, rule, detail string) finding.Finding {
	name := strings.TrimPrefix(purl, "pkg:npm/")
	return finding.Finding{ID: finding.Fingerprint(purl, version, rule, detail), Rule: rule, Priority: finding.Critical, Detail: detail,
		Package: finding.Package{PURL: purl + "@" + version, Name: name, Version: version}}
}

func word(change func(*scan.Suppression)) scan.Suppression {
	s := scan.Suppression{Source: "s.yaml", Line: 3, Package: "pkg:npm/a", Version: "1.2.3", Rule: "R", Owner: "team", Reason: "looked", Expires: "2026-12-31"}
	if change != nil {
		change(&s)
	}
	return s
}

func TestApply(t *testing.T) {
	a := found("pkg:npm/a", "1.2.3", "R", "file:/x")
	for _, tt := range []struct {
		name       string
		word       scan.Suppression
		findings   []finding.Finding
		fetches    []finding.Fetch
		effect     finding.Effect
		suppressed int
		broad      string
	}{
		{"exact", word(nil), []finding.Finding{a}, nil, finding.Applied, 1, ""},
		{"another version", word(func(s *scan.Suppression) { s.Version = "1.2.4" }), []finding.Finding{a}, nil, finding.Unused, 0, ""},
		{"another rule", word(func(s *scan.Suppression) { s.Rule = "r" }), []finding.Finding{a}, nil, finding.Unused, 0, ""},
		{"another package", word(func(s *scan.Suppression) { s.Package = "pkg:npm/b" }), []finding.Finding{a}, nil, finding.Unused, 0, ""},
		{"its detail", word(func(s *scan.Suppression) { s.Detail = "file:/x" }), []finding.Finding{a}, nil, finding.Applied, 1, ""},
		{"another detail", word(func(s *scan.Suppression) { s.Detail = "file:/y" }), []finding.Finding{a}, nil, finding.Unused, 0, ""},
		{"a range and its detail", word(func(s *scan.Suppression) { s.Version, s.Detail = "^1.2.0", "file:/x" }), []finding.Finding{a}, nil, finding.Applied, 1, ""},
		{"a range without the detail", word(func(s *scan.Suppression) { s.Version = "^1.2.0" }), []finding.Finding{a}, nil, finding.Applied, 1,
			"it names no detail: another version may do something else under the same rule"},
		{"an open range", word(func(s *scan.Suppression) { s.Version, s.Detail = ">=1", "file:/x" }), []finding.Finding{a}, nil, finding.Applied, 1,
			"its versions have no upper end: it covers code that nobody has seen yet"},
		{"several details", word(nil), []finding.Finding{a, found("pkg:npm/a", "1.2.3", "R", "file:/y")}, nil, finding.Applied, 2,
			"it names no detail, and matches 2 different ones"},
		{"several versions", word(func(s *scan.Suppression) { s.Version, s.Detail = "1.x", "file:/x" }), []finding.Finding{a, found("pkg:npm/a", "1.9.0", "R", "file:/x")}, nil, finding.Applied, 2,
			"it matches 2 versions"},
		{"the last day", word(func(s *scan.Suppression) { s.Expires = "2026-06-01" }), []finding.Finding{a}, nil, finding.Applied, 1, ""},
		{"the day after", word(func(s *scan.Suppression) { s.Expires = "2026-05-31" }), []finding.Finding{a}, nil, finding.Expired, 0, ""},
		{"void", word(func(s *scan.Suppression) { s.Void = "because" }), []finding.Finding{a}, nil, finding.Void, 0, ""},
		{"nobody's", word(func(s *scan.Suppression) { s.Owner = "" }), []finding.Finding{a}, nil, finding.Void, 0, ""},
		{"a bad range", word(func(s *scan.Suppression) { s.Version = "newest" }), []finding.Finding{a}, nil, finding.Void, 0, ""},
		{"a claimed package", word(nil), []finding.Finding{func() finding.Finding { f := a; f.Claimed = true; return f }()}, nil, finding.Unused, 0, ""},
		{"no package", word(nil), []finding.Finding{{Rule: "R"}}, nil, finding.Unused, 0, ""},
		{"from a repository", word(nil), []finding.Finding{func() finding.Finding {
			f := a
			f.Package.PURL = "pkg:npm/a@1.2.3?vcs_url=git%2Bhttps://evil.example.com/a.git"
			return f
		}()}, nil, finding.Unused, 0, ""},
		{"content", word(func(s *scan.Suppression) { s.Version, s.Integrity = "", hash('a') }), []finding.Finding{a},
			[]finding.Fetch{{Name: "a", Version: "1.2.3", Integrity: hash('a')}}, finding.Applied, 1, ""},
		{"other content", word(func(s *scan.Suppression) { s.Integrity = hash('a') }), []finding.Finding{a},
			[]finding.Fetch{{Name: "a", Version: "1.2.3", Integrity: hash('b')}}, finding.Unused, 0, ""},
		{"this content and other", word(func(s *scan.Suppression) { s.Integrity = hash('a') }), []finding.Finding{a},
			[]finding.Fetch{{Name: "a", Version: "1.2.3", Integrity: hash('a')}, {Name: "a", Version: "1.2.3", Integrity: hash('b')}}, finding.Unused, 0, ""},
		{"content that nobody fetched", word(func(s *scan.Suppression) { s.Integrity = hash('a') }), []finding.Finding{a}, nil, finding.Unused, 0, ""},
		{"content that was refused", word(func(s *scan.Suppression) { s.Integrity = hash('a') }), []finding.Finding{a},
			[]finding.Fetch{{Name: "a", Version: "1.2.3", Integrity: hash('a'), Refused: "no"}}, finding.Unused, 0, ""},
	} {
		got := suppress.Apply([]scan.Suppression{tt.word}, tt.findings, tt.fetches, now)
		marked := 0
		for _, f := range tt.findings {
			if f.Suppressed.Owner != "" {
				marked++
			}
		}
		if len(got) != 1 || got[0].Effect != tt.effect || marked != tt.suppressed || got[0].Broad != tt.broad || got[0].Effect == finding.Void && got[0].Void == "" {
			t.Errorf("%s: %+v, %d suppressed; want %s, %d, %q", tt.name, got, marked, tt.effect, tt.suppressed, tt.broad)
		}
		suppress.Apply(nil, tt.findings, nil, now)
		for _, f := range tt.findings {
			if f.Suppressed != (finding.Suppressed{}) {
				t.Errorf("%s: marks stay", tt.name)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	for _, tt := range []struct {
		purl, version, text string
		want                bool
	}{
		{"pkg:npm/a", "1.9.0", "^1.2.0", true},
		{"pkg:npm/a", "2.0.0", "^1.2.0", false},
		{"pkg:npm/a", "1.5.0-beta.1", ">=1.0.0", false},
		{"pkg:npm/a", "1.3.0", "1.2.3", false},
		{"pkg:npm/a", "1.2.3", "=1.2.3", true},
		{"pkg:npm/a", "3.0.0", "^1 || ^3", true},
		{"pkg:pypi/a", "1.9", "~=1.4", true},
		{"pkg:pypi/a", "2.0", ">=1.0,<2", false},
		{"pkg:pypi/a", "1.0.0", "1.0", true},
		{"pkg:gem/a", "1.9.0", "~> 1.2", true},
		{"pkg:cargo/a", "1.9.0", "1.2.3", false},
		{"pkg:cargo/a", "1.9.0", "^1.2.3", true},
		{"pkg:golang/example.com/a", "v1.9.3", ">=v1.2.0 <v2.0.0", true},
		{"pkg:golang/example.com/a", "v2.0.0", ">=v1.2.0 <v2.0.0", false},
		{"pkg:golang/example.com/a", "v1.2.3", "v1.2.3", true},
		{"pkg:maven/g/a", "1.5", "[1.0,2.0)", true},
		{"pkg:maven/g/a", "2.0", "[1.0,2.0)", false},
		{"pkg:maven/g/a", "1.5", "1.0", false},
		{"pkg:composer/v/a", "1.5.0", "^1.0", true},
		{"pkg:composer/v/a", "2.0.0", "^1.0", false},
		{"pkg:nuget/a", "1.5.0", "[1.0,2.0)", true},
		{"pkg:hex/a", "1.5", "1.5", true},
		{"pkg:hex/a", "1.6", "1.5", false},
	} {
		f := []finding.Finding{{Rule: "R", Package: finding.Package{PURL: tt.purl + "@" + tt.version}}}
		s := word(func(s *scan.Suppression) { s.Package, s.Version = tt.purl, tt.text })
		if got := suppress.Apply([]scan.Suppression{s}, f, nil, now)[0]; (got.Effect == finding.Applied) != tt.want || got.Effect == finding.Void {
			t.Errorf("%s@%s in %q: %+v, want %t", tt.purl, tt.version, tt.text, got, tt.want)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, kind := range []string{"npm", "pypi", "gem", "cargo", "golang", "maven", "composer", "nuget", "hex"} {
		f.Add(kind, ">=1.0.0 <2", "1.5.0")
		f.Add(kind, "[1.0,2.0)", "v1.5")
		f.Add(kind, "~> 1.2, ^3 || 4.x", "1!2.post1")
	}
	f.Fuzz(func(t *testing.T, kind, text, version string) {
		one := []finding.Finding{{Rule: "R", Package: finding.Package{PURL: "pkg:" + kind + "/a@" + version}}}
		s := word(func(s *scan.Suppression) { s.Package, s.Version = "pkg:"+kind+"/a", text })
		if got := suppress.Apply([]scan.Suppression{s}, one, nil, now)[0]; got.Effect == finding.Applied && one[0].Suppressed.Owner == "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestPolicy(t *testing.T) {
	central := word(func(s *scan.Suppression) { s.Source = "central.yaml" })
	target := word(func(s *scan.Suppression) { s.Version = "2.0.0" })
	changed := word(func(s *scan.Suppression) { s.Version, s.Reason, s.Line = "2.0.0", "another", 9 })
	moved := word(func(s *scan.Suppression) { s.Version, s.Line = "2.0.0", 30 })
	elsewhere := word(func(s *scan.Suppression) { s.Root = "web" })
	python := word(func(s *scan.Suppression) { s.Package = "pkg:pypi/a" })
	from := suppress.Sources{Central: suppress.File{Entries: []scan.Suppression{central}}, Target: suppress.File{Entries: []scan.Suppression{target, elsewhere, python}},
		Own: suppress.File{Entries: []scan.Suppression{moved, changed, central}}, Problems: []string{"p"}}
	got := from.Policy(".", map[string]bool{"npm": true})
	if len(got.Suppressions) != 3 || got.Suppressions[0].Void != "" || got.Suppressions[1].Void != "" || got.Suppressions[1].Line != 3 ||
		!strings.Contains(got.Suppressions[2].Void, "added or changed by the change under scan") || got.Suppressions[2].Reason != "another" || len(got.Problems) != 1 {
		t.Errorf("%+v", got)
	}
	if web := from.Policy("web", map[string]bool{"npm": true}); len(web.Suppressions) != 4 {
		t.Errorf("%+v", web)
	}
	if pip := from.Policy(".", map[string]bool{"pypi": true}); len(pip.Suppressions) != 1 {
		t.Errorf("%+v", pip)
	}
	from.Target, from.NoTarget = suppress.File{}, "there is no branch"
	if alone := from.Policy(".", map[string]bool{"npm": true}); len(alone.Suppressions) != 3 || !strings.HasSuffix(alone.Suppressions[1].Void, "there is no branch") {
		t.Errorf("%+v", alone)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if f, err := suppress.Read(root); err != nil || len(f.Entries) != 0 {
		t.Errorf("no file: %+v, %v", f, err)
	}
	at := filepath.Join(dir, suppress.FileName)
	if err := os.WriteFile(at, []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := suppress.Read(root); err != nil || len(f.Entries) != 1 || f.Entries[0].Source != ".falconer.yaml" {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := suppress.Central(at); err != nil || len(f.Entries) != 1 {
		t.Errorf("central: %+v, %v", f, err)
	}
	if _, err := suppress.Central(at + ".none"); fault.KindOf(err) != fault.Permanent {
		t.Errorf("a missing central file: %v", err)
	}
	if f, err := suppress.Central(""); err != nil || len(f.Entries) != 0 {
		t.Errorf("no central file: %+v, %v", f, err)
	}
	if err := os.Truncate(at, 1<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := suppress.Read(root); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a large file: %v", err)
	}
	if err := os.Rename(at, at+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(suppress.FileName+".real", at); err != nil {
		t.Fatal(err)
	}
	if _, err := suppress.Read(root); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a link: %v", err)
	}
}
