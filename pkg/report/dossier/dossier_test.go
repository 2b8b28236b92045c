package dossier_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
)

// TestComplete: whatever was not checked or not kept makes it incomplete, and
// is said.
func TestComplete(t *testing.T) {
	in := func(change func(*finding.Result, *dossier.Input)) dossier.Input {
		r := reporttest.Result(t, "clean")
		i := dossier.Input{Now: time.Now}
		if change != nil {
			change(&r, &i)
		}
		i.Results = append(i.Results, r)
		return i
	}
	for _, tt := range []struct {
		name    string
		in      dossier.Input
		gap     string // "" means complete
		verdict finding.Verdict
	}{
		{"clean", in(nil), "", finding.Clean},
		{"inconclusive", in(func(r *finding.Result, _ *dossier.Input) {
			r.Verdict, r.Incomplete = finding.Inconclusive, []string{"12 records were dropped"}
		}), "12 records were dropped", finding.Inconclusive},
		{"inconclusive without a reason", in(func(r *finding.Result, _ *dossier.Input) { r.Verdict = finding.Inconclusive }), "the scan came to no conclusion", finding.Inconclusive},
		{"a verdict from the future", in(func(r *finding.Result, _ *dossier.Input) { r.Verdict = "fine" }), "the scan came to no conclusion", finding.Inconclusive},
		{"no verdict", in(func(r *finding.Result, _ *dossier.Input) { r.Verdict = "" }), "the scan came to no conclusion", finding.Inconclusive},
		{"gaps in spite of the verdict", in(func(r *finding.Result, _ *dossier.Input) { r.Incomplete = []string{"a gap"} }), "a gap", finding.Inconclusive},
		{"findings lost", in(func(r *finding.Result, _ *dossier.Input) { r.Counts.Findings = 3 }), "3 more findings were counted but not kept", finding.Inconclusive},
		{"rejected", in(func(_ *finding.Result, i *dossier.Input) { i.Rejected = []dossier.Rejection{{Reason: "a bomb"}} }), "not scanned: a bomb", finding.Inconclusive},
		{"rejected without a reason", in(func(_ *finding.Result, i *dossier.Input) { i.Rejected = []dossier.Rejection{{}} }), "not scanned: no reason was given", finding.Inconclusive},
		{"known to who asks", in(func(_ *finding.Result, i *dossier.Input) { i.Gaps = []string{"web/package-lock.json: not a lockfile"} }), "web/package-lock.json: not a lockfile", finding.Inconclusive},
		{"nothing", dossier.Input{Now: time.Now}, "there is no result", finding.Inconclusive},
		{"proof stands", in(func(r *finding.Result, _ *dossier.Input) {
			*r = reporttest.Result(t, "malicious")
			r.Incomplete = []string{"a gap"}
		}), "a gap", finding.Malicious},
	} {
		d := dossier.Make(tt.in)
		if d.Complete != (tt.gap == "") || d.Verdict != tt.verdict || d.Complete != (len(d.Gaps) == 0) || tt.gap != "" && !slices.Contains(d.Gaps, tt.gap) {
			t.Errorf("%s: complete %t, %s, gaps %q", tt.name, d.Complete, d.Verdict, d.Gaps)
		}
	}
}

// TestOrder: the same results make the same dossier in any order.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var list []finding.Result
	for i, name := range []string{"clean", "malicious", "suspicious", "hostile"} {
		x := reporttest.Result(t, name)
		x.Root = fmt.Sprintf("r%d", i)
		list = append(list, x)
	}
	want := reporttest.Of(list...)
	for range 20 {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for k := range list {
			f := slices.Clone(list[k].Findings)
			r.Shuffle(len(f), func(i, j int) { f[i], f[j] = f[j], f[i] })
			list[k].Findings = f
		}
		if diff := cmp.Diff(want, reporttest.Of(list...)); diff != "" {
			t.Fatal(diff)
		}
	}
	if !slices.IsSortedFunc(want.Issues, func(a, b dossier.Issue) int { return int(a.Priority) - int(b.Priority) }) {
		t.Error("issues are not worst first")
	}
}

// TestMerge: findings of one package and rule are one issue that loses nothing
// but evidence beyond the limit.
func TestMerge(t *testing.T) {
	d := reporttest.Dossiers(t)["doubtful"]
	i := d.Issues[slices.IndexFunc(d.Issues, func(i dossier.Issue) bool { return i.Package.Name == "@scope/thing" })]
	if i.Priority != finding.Alert || i.Count != 6 || !slices.Equal(i.Scripts, []string{"postinstall", "preinstall"}) || len(i.Findings) != 2 || len(i.Evidence) != 4 {
		t.Errorf("%+v", i)
	}
	if !slices.ContainsFunc(d.Issues, func(i dossier.Issue) bool { return i.Claimed && i.Package.Name == "framed" }) {
		t.Error("a claim became a fact")
	}
}

// texts lists every string in a value.
func texts(v reflect.Value, f func(string)) {
	switch v.Kind() {
	case reflect.String:
		f(v.String())
	case reflect.Slice:
		for i := range v.Len() {
			texts(v.Index(i), f)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			texts(v.Field(i), f)
		}
	}
}

func checkBounded(t *testing.T, d dossier.Dossier) {
	t.Helper()
	texts(reflect.ValueOf(d), func(s string) {
		if n := len([]rune(s)); n > 2500 { // prefix and text
			t.Errorf("%d characters: %.40q", n, s)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q does not print", s)
		}
	})
	for _, i := range d.Issues {
		if len(i.Evidence) > finding.MaxEvidence || len(i.Behaviours) > 20 || len(i.Scripts) > 20 {
			t.Errorf("issue %s is not bounded", i.ID)
		}
	}
}

func TestEverythingIsBounded(t *testing.T) {
	r := reporttest.Result(t, "hostile")
	long := strings.Repeat("\x1b漢\u202e\xff", 100_000)
	f := r.Findings[0]
	f.Rule, f.Summary, f.Script, f.Phase, f.Package = long, long, long, long, finding.Package{PURL: "pkg:npm/" + long, Name: long, Version: long, Path: long}
	f.Behaviours, f.Techniques = slices.Repeat([]string{long}, 50), slices.Repeat([]string{long}, 50)
	f.Evidence = slices.Repeat([]finding.Evidence{{CommandLine: long, File: long, Address: long, Syscall: long, Output: long, ProcessChain: slices.Repeat([]string{long}, 40)}}, 9)
	r.Findings = append(r.Findings, f)
	r.Incomplete, r.Unwatched = slices.Repeat([]string{long}, 200), slices.Repeat([]string{long}, 200)
	r.Project, r.Ref, r.Commit, r.Root, r.Lockfile, r.Manager, r.Rules, r.Recipe, r.ScanID = long, long, long, long, long, long, long, long, "no UUID"
	d := dossier.Make(dossier.Input{Version: long, Results: []finding.Result{r}, Gaps: slices.Repeat([]string{long}, 500), Rejected: slices.Repeat([]dossier.Rejection{{Reason: long}}, 500)})
	checkBounded(t, d)
	if len(d.Gaps) > 60 || len(d.Beside) > 60 || len(d.Scans[0].Unwatched) > 60 || len(d.Issues[1].Evidence[0].Chain) > 20 {
		t.Errorf("%d gaps, %d beside, %d unwatched", len(d.Gaps), len(d.Beside), len(d.Scans[0].Unwatched))
	}
}

func TestRegistry(t *testing.T) {
	for purl, want := range map[string]string{
		"pkg:npm/left-pad@1.3.0": "npm left-pad", "pkg:npm/%40scope/thing@1.0.0": "npm @scope/thing", "pkg:maven/org.a/b@1": "maven org.a:b",
		"pkg:npm/left-pad": "", "pkg:npm/a@1?download_url=https://x.example.com/a.tgz": "", "pkg:npm/a@1#sub": "", "a": "", "": "", "pkg:npm/%1B@1": "",
	} {
		kind, name, ok := dossier.Package{PURL: purl}.Registry()
		if got := strings.TrimSpace(kind + " " + name); got != want || ok != (want != "") {
			t.Errorf("%s: %q %t, want %q", purl, got, ok, want)
		}
	}
}

func FuzzMake(f *testing.F) {
	reporttest.Seed(f)
	like := reporttest.Result(f, "malicious")
	f.Fuzz(func(t *testing.T, text string, n int) {
		d := reporttest.Hostile(like, text, n)
		checkBounded(t, d)
		if d.Complete != (len(d.Gaps) == 0) || d.Complete && d.Verdict == finding.Inconclusive {
			t.Errorf("complete %t, %s, gaps %q", d.Complete, d.Verdict, d.Gaps)
		}
	})
}
