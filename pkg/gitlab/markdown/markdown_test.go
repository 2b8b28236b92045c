package markdown_test

import (
	"flag"
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab/markdown"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var update = flag.Bool("update", false, "rewrite testdata")

// hostile is text that does something in GitLab if it is not kept from it.
var hostile = []string{
	"@all", "@root please merge", "/approve", "\n/approve\n", "\n\n/close", "\r/merge", "\u2028/approve", "\u0085/approve", "x\n/label ~bug",
	"<script>alert(1)</script>", "</code>", "</pre></details>\n/approve", "<img src=https://evil.example.com/x>", "<!-- falconer:discussion:v1 -->", "-->",
	"[click](https://evil.example.com)", "![x](https://evil.example.com/x.png)", "https://evil.example.com", "www.evil.example.com", "mailto:a@example.com",
	"`code`", "```\n/approve\n```", "~~~", "**bold**", "_x_", "# head", "> quote", ">>>\n/approve\n>>>", "1. x", "- [ ] task", "| a | b |", "$`x^2`$", "$$x$$",
	"#1", "!1", "$1", "~bug", "%v1", "&1", ":tada:", "[[_TOC_]]", "{{var}}", "[^1]", "&lt;script&gt;", "&#47;approve", "\\@all", "\x1b[31m", "\x00", "\xff\xfe",
	"\u202egnp.exe", "\u200b@all", "＠all", strings.Repeat("a", 5000), "gid://x", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "",
}

// tags are the elements that a discussion is made of.
var tags = regexp.MustCompile(`</?(code|pre|details|summary)>`)

// isHarmless reports why an element's content could do something.
func isHarmless(inner string) error {
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c >= 0x80, c == ' ', '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '&':
			end := strings.IndexByte(inner[i:], ';')
			if end < 3 || inner[i+1] != '#' || strings.Trim(inner[i+2:i+end], "0123456789") != "" {
				return fmt.Errorf("%.20q is no character reference", inner[i:])
			}
			i += end
		default:
			return fmt.Errorf("%q stands as it is", c)
		}
	}
	return nil
}

func checkCode(t *testing.T, s string) {
	t.Helper()
	got := markdown.Code(s)
	if s == "" {
		return
	}
	inner, ok := strings.CutPrefix(got, "<code>")
	inner, ok2 := strings.CutSuffix(inner, "</code>")
	inner = strings.TrimSuffix(inner, "...")
	if err := isHarmless(inner); err != nil || !ok || !ok2 {
		t.Errorf("%q became %q: %v", s, got, err)
	}
	if len(got) > 300*12+40 {
		t.Errorf("%d bytes of %d", len(got), len(s))
	}
	// What prints is still there to read.
	if plain := html.UnescapeString(inner); len(s) < 100 && regexp.MustCompile(`^[ -~]+$`).MatchString(s) && plain != s {
		t.Errorf("%q reads %q", s, plain)
	}
}

func TestCode(t *testing.T) {
	for _, s := range hostile {
		checkCode(t, s)
	}
}

func FuzzCode(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(checkCode)
}

// evil is a result that is hostile in every text that a sandbox, a repository or
// an alert can fill.
func evil(s string) markdown.Section {
	e := finding.Evidence{Time: time.Unix(0, 0), ProcessChain: []string{s, s, s}, CommandLine: s, Syscall: s, File: s, Address: s, Output: s, AlertID: s}
	f := finding.Finding{ID: s, Rule: s, Priority: finding.Critical, Behaviours: []string{s}, Techniques: []string{s}, Package: finding.Package{PURL: s, Name: s, Version: s, Path: s},
		Phase: s, Script: s, Claimed: true, Previous: s, Suppressed: finding.Suppressed{Owner: s, Reason: s, Expires: s, Source: s}, Summary: s, Count: 2, Evidence: []finding.Evidence{e}}
	return markdown.Section{Target: s, Result: finding.Result{Baseline: finding.Baseline{ScanID: scan.Key{}.ID(), Ref: s}, Gone: []finding.Gone{{Rule: s, Package: finding.Package{PURL: s}, Script: s}}, Notes: []string{s}, Verdict: finding.Malicious, ScanID: scan.Key{}.ID(), Root: s, Manager: s, Commit: s,
		Ref: s, Project: s, Incomplete: []string{s}, Reasons: []string{s}, Findings: []finding.Finding{f}, Log: s}}
}

// ours is what a discussion holds beside untrusted text: made of a text that
// does nothing.
func skeleton(body string) string {
	body = regexp.MustCompile(`(?s)<pre>.*?</pre>`).ReplaceAllString(body, "<pre></pre>")
	return regexp.MustCompile(`<code>[^<]*</code>`).ReplaceAllString(body, "<code></code>")
}

func checkDiscussion(t *testing.T, s string) {
	t.Helper()
	if s == "" {
		return
	}
	sections := func(s string) []markdown.Section {
		rejected := markdown.Section{Rejected: s, Result: finding.Result{Root: s, Manager: s, Commit: s}}
		odd := evil(s)
		odd.Result.Verdict = finding.Verdict(s)
		return []markdown.Section{evil(s), rejected, odd}
	}
	got := markdown.Discussion(sections(s), "https://falconer.example.com")
	if d := cmp.Diff(skeleton(markdown.Discussion(sections("x"), "https://falconer.example.com")), skeleton(got)); d != "" {
		t.Errorf("%q changes what the discussion is made of:\n%s", s, d)
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(strings.TrimSpace(line), "/") {
			t.Errorf("%q makes a quick action: %q", s, line)
		}
	}
	if n := strings.Count(got, markdown.Marker); n != 1 {
		t.Errorf("%q: %d markers", s, n)
	}
	for _, m := range regexp.MustCompile(`(?s)<pre>(.*?)</pre>`).FindAllStringSubmatch(got, -1) {
		for line := range strings.SplitSeq(m[1], "\n") {
			inner := strings.TrimSuffix(strings.TrimPrefix(strings.TrimLeft(line, " "), "- "), "...")
			if err := isHarmless(inner); err != nil {
				t.Errorf("%q: %v in %q", s, err, line)
			}
		}
	}
	for _, tag := range regexp.MustCompile(`<[^!][^>]*>`).FindAllString(got, -1) {
		if !tags.MatchString(tag) {
			t.Errorf("%q brings in %q", s, tag)
		}
	}
}

func TestHostileDiscussion(t *testing.T) {
	for _, s := range hostile {
		checkDiscussion(t, s)
	}
}

func FuzzDiscussion(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(checkDiscussion)
}

func found(id, rule string, p finding.Priority) finding.Finding {
	return finding.Finding{ID: id, Rule: rule, Priority: p, Behaviours: []string{"credential-read"}, Techniques: []string{"T1552.001"},
		Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1"}, Phase: "install", Script: "postinstall", Summary: "A lifecycle process opened a key for reading.", Count: 3,
		Evidence: []finding.Evidence{{ProcessChain: []string{"npm ci", "sh -c node collect.js", "node collect.js"}, File: "/root/.ssh/id_rsa", Address: "203.0.113.7:443", CommandLine: "node collect.js"}}}
}

func TestGolden(t *testing.T) {
	id := scan.Key{Project: "mike/diaspora"}.ID()
	one := finding.Result{Verdict: finding.Malicious, ScanID: id, Root: "web", Manager: "npm", Commit: "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", Packages: 211,
		Findings: []finding.Finding{found("1", "Known before", finding.Warning), found("2", "Credential file read", finding.Critical)}}
	compared := one
	compared.Findings = append([]finding.Finding{}, one.Findings...)
	compared.Findings[0].Baseline, compared.Findings[1].Baseline = finding.Known, finding.New
	compared.Baseline = finding.Baseline{ScanID: scan.Key{}.ID(), Ref: "main"}
	weighed := compared
	vouched := found("3", "Shell", finding.Critical)
	vouched.Suppressed = finding.Suppressed{Owner: "platform", Reason: "looked at", Expires: "2026-12-31", Source: ".falconer.yaml", Line: 3}
	weighed.Findings = append(weighed.Findings[:2:2], vouched)
	weighed.Gone = []finding.Gone{{Rule: "Outbound connection", Priority: finding.Error, Package: finding.Package{PURL: "pkg:npm/old@1.0.0"}, Script: "postinstall"}}
	weighed.Notes = []string{".falconer.yaml:9: pkg:npm/a: matches nothing"}
	clean := finding.Result{Verdict: finding.Clean, ScanID: id, Root: ".", Manager: "npm", Commit: one.Commit, Packages: 3}
	lost := clean
	lost.Verdict, lost.Incomplete = finding.Inconclusive, []string{"the sandbox was lost"}
	for name, list := range map[string][]markdown.Section{
		"malicious":    {{Result: clean, Target: "main"}, {Result: compared, Target: "main"}},
		"weighed":      {{Result: weighed, Target: "main"}},
		"no-baseline":  {{Result: one, Target: "main"}},
		"clean":        {{Result: clean, Target: "main"}},
		"inconclusive": {{Result: lost, Target: "main"}},
		"rejected":     {{Result: finding.Result{Root: ".", Manager: "npm", Commit: one.Commit}, Rejected: "web/package-lock.json: line 1: not JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := markdown.Discussion(list, "https://falconer.example.com/scans")
			file := "testdata/" + name + ".md"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// thousand is a result with as many findings as are kept.
func thousand() []markdown.Section {
	r := finding.Result{Verdict: finding.Malicious, ScanID: scan.Key{}.ID(), Root: ".", Manager: "npm"}
	for i := range finding.MaxFindings {
		r.Findings = append(r.Findings, found(fmt.Sprint(i), fmt.Sprintf("Rule %d", i), finding.Critical))
	}
	r.Counts.Findings = 5000
	return []markdown.Section{{Result: r, Target: "main"}}
}

func TestBounds(t *testing.T) {
	got := markdown.Discussion(thousand(), "")
	if n := strings.Count(got, "<details>"); n != 25 || n != strings.Count(got, "</details>") || !strings.Contains(got, "975 more findings are in the result") {
		t.Errorf("%d findings shown", n)
	}
	var many []markdown.Section
	for range 100 {
		many = append(many, evil(strings.Repeat("<", 5000)))
	}
	if got := markdown.Discussion(many, ""); len(got) > 200_000 || !strings.Contains(got, "more projects") {
		t.Errorf("%d bytes", len(got))
	}
}

func BenchmarkThousandFindings(b *testing.B) {
	list := thousand()
	b.ReportAllocs()
	for b.Loop() {
		markdown.Discussion(list, "")
	}
}
