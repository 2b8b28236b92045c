// Package reporttest holds what the tests of every report format share: the
// dossiers that each must render, and goldens.
package reporttest

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Version is falconer's version in the dossiers.
const Version = "v1.2.3"

// Result reads one of the results that package report keeps goldens of: clean,
// suspicious, malicious, inconclusive or hostile. The test's package is one
// folder below report.
func Result(t testing.TB, name string) finding.Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r finding.Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Of makes a dossier of results.
func Of(results ...finding.Result) dossier.Dossier {
	return dossier.Make(dossier.Input{Version: Version, Results: results, Now: at})
}

func at() time.Time { return time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC) }

// Dossiers returns the cases by name. Those that are not complete are named in
// Incomplete.
func Dossiers(t testing.TB) map[string]dossier.Dossier {
	t.Helper()
	out := map[string]dossier.Dossier{}
	for _, name := range []string{"clean", "suspicious", "malicious", "weighed", "inconclusive", "hostile"} {
		out[name] = Of(Result(t, name))
	}

	// Proof in spite of gaps; findings that were not kept.
	partial := Result(t, "malicious")
	partial.Incomplete = []string{"12 sensor records were dropped"}
	partial.Counts.Findings += 7
	out["partial"] = Of(partial)

	// A package that a process only claims, one from a repository, one that
	// nobody could name; the same rule twice, with different addresses.
	doubtful := Result(t, "malicious")
	doubtful.Findings = doubtfulFindings(doubtful.Findings)
	doubtful.Verdict, doubtful.Reasons = finding.Judge(doubtful.Findings, nil)
	doubtful.Counts.Findings = int64(len(doubtful.Findings))
	out["doubtful"] = Of(doubtful)

	// Two projects of a source, and one that could not be scanned.
	top := Result(t, "clean")
	top.ScanID = scan.Key{Project: "local/shop", Root: "."}.ID()
	top.Unwatched = []string{"memory-mapped execution"}
	out["several"] = dossier.Make(dossier.Input{Version: Version, Results: []finding.Result{top, Result(t, "malicious")},
		Rejected: []dossier.Rejection{{Project: "local/shop", Reason: "admin/package-lock.json: not a lockfile"}}, Now: at})

	out["rejected"] = dossier.Make(dossier.Input{Version: Version, Rejected: []dossier.Rejection{{Project: "local/shop", Reason: "the archive holds a link out of it"}}, Now: at})
	return out
}

// Incomplete lists the cases in which not everything was checked.
func Incomplete() []string {
	return []string{"inconclusive", "hostile", "partial", "several", "rejected"}
}

func doubtfulFindings(list []finding.Finding) []finding.Finding {
	stolen := list[slices.IndexFunc(list, func(f finding.Finding) bool { return f.Priority == finding.Critical })]
	with := func(id string, p finding.Package, change func(*finding.Finding)) finding.Finding {
		f := stolen
		f.ID, f.Package, f.Evidence = id, p, slices.Clone(stolen.Evidence)
		if change != nil {
			change(&f)
		}
		return f
	}
	scoped := finding.Package{PURL: "pkg:npm/%40scope/thing@2.0.0-rc.1", Name: "@scope/thing", Version: "2.0.0-rc.1", Path: "node_modules/@scope/thing"}
	return []finding.Finding{
		with("claimed", finding.Package{PURL: "pkg:npm/framed@1.0.0", Name: "framed", Version: "1.0.0"}, func(f *finding.Finding) { f.Claimed = true }),
		with("foreign", finding.Package{PURL: "pkg:npm/react@1.0.0?vcs_url=git%2Bssh%3A%2F%2Fgit.example.com%2Fa.git", Name: "react", Version: "1.0.0"}, nil),
		with("nobody", finding.Package{}, nil),
		with("scoped-1", scoped, func(f *finding.Finding) { f.Evidence[0].Address = "203.0.113.7:4431" }),
		with("scoped-2", scoped, func(f *finding.Finding) {
			f.Evidence[0].Address, f.Script, f.Priority = "198.51.100.9:50123", "preinstall", finding.Alert
		}),
	}
}

// Many returns a result with n findings of as many packages, each with the
// evidence of a real one.
func Many(t testing.TB, n int) finding.Result {
	t.Helper()
	r := Result(t, "malicious")
	like := r.Findings[len(r.Findings)-1]
	r.Findings = nil
	for i := range n {
		f := like
		f.ID = finding.Fingerprint("many", string(rune('a'+i%26)), time.Duration(i).String())
		f.Package.Name = "evil-" + f.ID[:12]
		f.Package.PURL = "pkg:npm/" + f.Package.Name + "@1.0.0"
		r.Findings = append(r.Findings, f)
	}
	r.Counts.Findings = int64(n)
	return r
}

// Golden compares with a file in testdata, or writes it.
func Golden(t *testing.T, update bool, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// Change is a mutation of a decoded document that a check must refuse.
type Change struct {
	Name string
	Do   func(doc map[string]any)
}

// Decoded reads a document anew.
func Decoded(t testing.TB, text []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// At walks into a decoded document: strings are keys, numbers are indexes.
func At(doc any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			doc = doc.(map[string]any)[p]
		case int:
			doc = doc.([]any)[p]
		}
	}
	return doc
}

// Seed adds texts to start fuzzing a format from, see Hostile.
func Seed(f *testing.F) {
	f.Helper()
	for i, text := range []string{"", "evil", "a\x1b[2J\u202e\xff\x00", "pkg:npm/%40a/b@1.0.0", "pkg:maven/a/b@1?x=y#z", "</code>[x](http://a) {0} \\", "sha512-AAAA", "../../a b%", "漢\U0001f600"} {
		f.Add(text, i)
	}
}

// Hostile puts a text wherever a result holds one that comes from a sandbox, a
// repository or an alert, and a number where it decides something.
func Hostile(like finding.Result, text string, n int) dossier.Dossier {
	p := finding.Package{PURL: text, Name: text, Version: text, Path: text}
	r := like
	r.ScanID, r.Revision, r.Verdict = scan.ID(text), n, finding.Verdict(text)
	r.Project, r.Ref, r.Commit, r.Root, r.Lockfile, r.Manager, r.Rules, r.Recipe = text, text, text, text, text, text, text, text
	r.Started = r.Started.Add(time.Duration(n) * time.Hour)
	r.InstallScripts = []finding.ScriptPackage{{Package: p, Scripts: []string{text}}}
	r.Fetches = []finding.Fetch{{Name: text, Version: text, Integrity: text}}
	r.Findings = slices.Clone(like.Findings)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.ID, f.Rule, f.Priority, f.Package, f.Script, f.Summary, f.Count = text, text, finding.Priority(n), p, text, text, int64(n)
		f.Behaviours, f.Techniques = []string{text}, []string{text}
		f.Evidence = []finding.Evidence{{ProcessChain: []string{text, text}, CommandLine: text, Syscall: text, File: text, Address: text, Output: text,
			Network: finding.Network{Protocol: text, Name: text, SNI: text, Request: text, Headers: []string{text}, FirstBytes: base64.StdEncoding.EncodeToString([]byte(text)), TLSRefused: text}}}
		if i == 0 {
			f.Package.Name, f.Package.Version, f.Priority = "", "", finding.Critical // the purl alone
		}
	}
	if n%2 == 0 {
		r.Verdict, r.Incomplete, r.Unwatched = finding.Malicious, []string{text}, []string{text}
	}
	return dossier.Make(dossier.Input{Version: text, Results: []finding.Result{r, like}, Now: at})
}
