package gitlabreport_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, d dossier.Dossier) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gitlabreport.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGoldens(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		t.Run(name, func(t *testing.T) {
			text := render(t, d)
			reporttest.Golden(t, *update, name+".json", text)
			if broken := breaks(reporttest.Decoded(t, text)); len(broken) > 0 {
				t.Errorf("breaks the schema:\n%s", strings.Join(broken, "\n"))
			}
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.DisallowUnknownFields()
			var back gitlabreport.Report
			if err := dec.Decode(&back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(gitlabreport.New(d), back); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("byte %d does not print", i)
			}
		})
	}
}

// TestStatus: only a report of everything may resolve what it does not list.
func TestStatus(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		r := gitlabreport.New(d)
		want, fatal := "success", 0
		if slices.Contains(reporttest.Incomplete(), name) {
			want = "failure"
		}
		for _, m := range r.Scan.Messages {
			if m.Level == "fatal" {
				fatal++
			}
		}
		if r.Scan.Status != want || (fatal > 0) != (want == "failure") {
			t.Errorf("%s: status %s with %d fatal messages, want %s", name, r.Scan.Status, fatal, want)
		}
		if r.Scan.Scanner.ID != "packagehunter" {
			t.Errorf("%s: scanner %s", name, r.Scan.Scanner.ID)
		}
	}
}

// TestEveryConstraint breaks a good report in each way that the schema forbids.
func TestEveryConstraint(t *testing.T) {
	text := render(t, reporttest.Dossiers(t)["several"])
	vuln := func(d map[string]any) map[string]any { return reporttest.At(d, "vulnerabilities", 0).(map[string]any) }
	scan := func(d map[string]any) map[string]any { return d["scan"].(map[string]any) }
	var all []reporttest.Change
	add := func(name string, do func(map[string]any)) { all = append(all, reporttest.Change{Name: name, Do: do}) }
	for _, k := range []string{"scan", "version", "vulnerabilities"} {
		add("no "+k, func(d map[string]any) { delete(d, k) })
	}
	for _, k := range []string{"analyzer", "end_time", "scanner", "start_time", "status", "type"} {
		add("no scan."+k, func(d map[string]any) { delete(scan(d), k) })
	}
	for _, tool := range []string{"analyzer", "scanner"} {
		for _, k := range []string{"id", "name", "version", "vendor"} {
			add("no "+tool+"."+k, func(d map[string]any) { delete(scan(d)[tool].(map[string]any), k) })
			add("empty "+tool+"."+k, func(d map[string]any) { scan(d)[tool].(map[string]any)[k] = "" })
		}
		add("no name in vendor of "+tool, func(d map[string]any) { scan(d)[tool].(map[string]any)["vendor"] = map[string]any{} })
		add("empty vendor of "+tool, func(d map[string]any) { scan(d)[tool].(map[string]any)["vendor"] = map[string]any{"name": ""} })
	}
	for _, k := range []string{"id", "identifiers", "location"} {
		add("no "+k, func(d map[string]any) { delete(vuln(d), k) })
	}
	for _, k := range []string{"type", "name", "value"} {
		add("no identifier "+k, func(d map[string]any) { delete(reporttest.At(vuln(d), "identifiers", 0).(map[string]any), k) })
		add("empty identifier "+k, func(d map[string]any) { reporttest.At(vuln(d), "identifiers", 0).(map[string]any)[k] = "" })
	}
	for _, k := range []string{"level", "value"} {
		add("no message "+k, func(d map[string]any) { delete(reporttest.At(scan(d), "messages", 0).(map[string]any), k) })
	}
	for _, k := range []string{"name", "value"} {
		add("no option "+k, func(d map[string]any) { delete(reporttest.At(scan(d), "options", 0).(map[string]any), k) })
	}
	for _, k := range []string{"start_time", "end_time"} {
		for _, bad := range []string{"2026-03-01T12:00:00Z", "2026-03-01 12:00:00", "2026-03-01T12:00:00.5", "", "x2026-03-01T12:00:00"} {
			add(k+" "+bad, func(d map[string]any) { scan(d)[k] = bad })
		}
	}
	for name, do := range map[string]func(map[string]any){
		"version":            func(d map[string]any) { d["version"] = "v15.2" },
		"schema":             func(d map[string]any) { d["schema"] = "ftp://a" },
		"status":             func(d map[string]any) { scan(d)["status"] = "inconclusive" },
		"type":               func(d map[string]any) { scan(d)["type"] = "sast" },
		"analyzer's address": func(d map[string]any) { scan(d)["analyzer"].(map[string]any)["url"] = "git://a" },
		"message level":      func(d map[string]any) { reporttest.At(scan(d), "messages", 0).(map[string]any)["level"] = "error" },
		"message text":       func(d map[string]any) { reporttest.At(scan(d), "messages", 0).(map[string]any)["value"] = "" },
		"option name": func(d map[string]any) {
			reporttest.At(scan(d), "options", 0).(map[string]any)["name"] = strings.Repeat("x", 256)
		},
		"empty option name": func(d map[string]any) { reporttest.At(scan(d), "options", 0).(map[string]any)["name"] = "" },
		"option source":     func(d map[string]any) { reporttest.At(scan(d), "options", 0).(map[string]any)["source"] = "default" },
		"id":                func(d map[string]any) { vuln(d)["id"] = "" },
		"long name":         func(d map[string]any) { vuln(d)["name"] = strings.Repeat("é", 256) },
		"long description":  func(d map[string]any) { vuln(d)["description"] = strings.Repeat("x", 1<<20+1) },
		"long solution":     func(d map[string]any) { vuln(d)["solution"] = strings.Repeat("x", 7001) },
		"severity":          func(d map[string]any) { vuln(d)["severity"] = "critical" },
		"no identifiers":    func(d map[string]any) { vuln(d)["identifiers"] = []any{} },
		"identifier address": func(d map[string]any) {
			reporttest.At(vuln(d), "identifiers", 1).(map[string]any)["url"] = "cwe.mitre.org"
		},
		"no file":       func(d map[string]any) { delete(vuln(d)["location"].(map[string]any), "file") },
		"empty file":    func(d map[string]any) { vuln(d)["location"].(map[string]any)["file"] = "" },
		"no dependency": func(d map[string]any) { delete(vuln(d)["location"].(map[string]any), "dependency") },
		"no package": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "location", "dependency").(map[string]any), "package")
		},
		"no package version": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "location", "dependency").(map[string]any), "version")
		},
		"no package name": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "location", "dependency", "package").(map[string]any), "name")
		},
		"detail without name": func(d map[string]any) { delete(reporttest.At(vuln(d), "details", "scan").(map[string]any), "name") },
		"detail without type": func(d map[string]any) { delete(reporttest.At(vuln(d), "details", "scan").(map[string]any), "type") },
		"detail type":         func(d map[string]any) { reporttest.At(vuln(d), "details", "scan").(map[string]any)["type"] = "html" },
		"detail value":        func(d map[string]any) { delete(reporttest.At(vuln(d), "details", "scan").(map[string]any), "value") },
		"detail text":         func(d map[string]any) { reporttest.At(vuln(d), "details", "scan").(map[string]any)["value"] = 3.0 },
		"empty detail name": func(d map[string]any) {
			reporttest.At(vuln(d), "details", "scan").(map[string]any)["name"] = ""
		},
		"item without type": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "details", "evidence_1", "items", 0).(map[string]any), "type")
		},
		"item type": func(d map[string]any) {
			reporttest.At(vuln(d), "details", "evidence_1", "items", 0).(map[string]any)["type"] = "html"
		},
		"item value": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "details", "evidence_1", "items", 0).(map[string]any), "value")
		},
		"detail items": func(d map[string]any) {
			delete(reporttest.At(vuln(d), "details", "evidence_1").(map[string]any), "items")
		},
		"vulnerabilities": func(d map[string]any) { d["vulnerabilities"] = map[string]any{} },
	} {
		add(name, do)
	}
	for _, c := range all {
		doc := reporttest.Decoded(t, text)
		c.Do(doc)
		if len(breaks(doc)) == 0 {
			t.Errorf("%s: not noticed", c.Name)
		}
	}
}

// TestEveryType puts a value of each wrong type in the place of each value.
func TestEveryType(t *testing.T) {
	text := render(t, reporttest.Dossiers(t)["several"])
	changed := 0
	for _, wrong := range []any{nil, true, 3.0, "", []any{3.0}, map[string]any{"": ""}} {
		for n := 1; ; n++ {
			doc := reporttest.Decoded(t, text)
			left := n
			at := replace(doc, "", wrong, &left)
			if left > 0 {
				break // there are no n values
			}
			if s, ok := wrong.(string); ok && s == "" && mayBeEmpty.MatchString(at) {
				continue
			}
			if changed++; len(breaks(doc)) == 0 {
				t.Errorf("%s is %#v: not noticed", at, wrong)
			}
		}
	}
	if changed < 1000 {
		t.Errorf("only %d values were replaced", changed)
	}
}

// mayBeEmpty are the texts that the schema lets be empty.
var mayBeEmpty = regexp.MustCompile(`^/scan/(scanner/url|options/\d+/value)$|^/vulnerabilities/\d+/(name|description|solution|location/dependency/(version|package/name)|details/\w+/(value|items/\d+/(name|value)))$`)

// replace puts a value in the place of the n-th, and says where.
func replace(doc any, at string, wrong any, n *int) string {
	visit := func(key string, v any, put func(any)) string {
		key = at + "/" + key
		if *n--; *n == 0 {
			put(wrong)
			return key
		}
		return replace(v, key, wrong, n)
	}
	switch doc := doc.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(doc)) {
			if found := visit(k, doc[k], func(v any) { doc[k] = v }); *n <= 0 {
				return found
			}
		}
	case []any:
		for i, e := range doc {
			if found := visit(strconv.Itoa(i), e, func(v any) { doc[i] = v }); *n <= 0 {
				return found
			}
		}
	}
	return ""
}

// TestIdentity: what GitLab recognises a vulnerability by is the same when the
// same code is run again, and holds no address.
func TestIdentity(t *testing.T) {
	first := reporttest.Result(t, "malicious")
	again := reporttest.Result(t, "malicious")
	again.ScanID, again.Revision = "11111111-2222-5333-8444-555555555555", 5
	for i := range again.Findings {
		f := &again.Findings[i]
		f.ID, f.Count = fmt.Sprintf("other-%d", i), f.Count+3
		for j := range f.Evidence {
			f.Evidence[j].Address, f.Evidence[j].CommandLine = "198.51.100.77:61234", "sh -c other"
		}
	}
	slices.Reverse(again.Findings)
	address := regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|:\d{2,}|\[[0-9a-f:]+\]`)
	identity := func(r finding.Result) (all []string) {
		seen := map[string]bool{}
		for _, v := range gitlabreport.New(reporttest.Of(r)).Vulnerabilities {
			if seen[v.ID] {
				t.Errorf("id %s stands twice", v.ID)
			}
			seen[v.ID] = true
			s := fmt.Sprint(v.ID, v.Name, v.Identifiers[0], v.Location)
			if address.MatchString(s) {
				t.Errorf("an address in %s", s)
			}
			all = append(all, s)
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(identity(first), identity(again)); diff != "" {
		t.Errorf("another run has other identities:\n%s", diff)
	}
	doubtful := gitlabreport.New(reporttest.Dossiers(t)["doubtful"]).Vulnerabilities
	if len(doubtful) != 4 || doubtful[0].Location.Dependency.Package.Name != "@scope/thing" {
		t.Errorf("%d vulnerabilities: two addresses of one package and rule are one vulnerability", len(doubtful))
	}
}

// TestDescriptionIsInert: GitLab renders it as Markdown.
func TestDescriptionIsInert(t *testing.T) {
	r := reporttest.Result(t, "malicious")
	evil := "</code>[x](https://evil.example.com) @all #1 `a` ![](https://evil.example.com/p.png)\n/close <img src=x onerror=alert(1)>"
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Rule, f.Summary, f.Script, f.Package.Name = evil, evil, evil, evil
	}
	for _, v := range gitlabreport.New(reporttest.Of(r)).Vulnerabilities {
		rest := strings.NewReplacer("<code>", "", "</code>", "", "&#", "", ";", "").Replace(v.Description)
		if strings.ContainsAny(rest, "<>[]()@#`!_*~|\\/") {
			t.Errorf("markup in %s", v.Description)
		}
	}
}

func TestSeverity(t *testing.T) {
	want := []string{"Critical", "Critical", "Critical", "High", "Medium", "Info", "Info", "Info"}
	for p, w := range want {
		if got := gitlabreport.Severity(finding.Priority(p)); got != w {
			t.Errorf("%s is %s, want %s", finding.Priority(p), got, w)
		}
	}
}

func FuzzWrite(f *testing.F) {
	reporttest.Seed(f)
	like := reporttest.Result(f, "malicious")
	f.Fuzz(func(t *testing.T, text string, n int) {
		d := reporttest.Hostile(like, text, n)
		if broken := breaks(reporttest.Decoded(t, render(t, d))); len(broken) > 0 {
			t.Errorf("breaks the schema: %q", broken)
		}
		if got := gitlabreport.New(d).Scan.Status; (got == "success") != d.Complete {
			t.Errorf("status %s, complete %t", got, d.Complete)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWriteError(t *testing.T) {
	if err := gitlabreport.Write(fullDisk{}, reporttest.Of(reporttest.Result(t, "clean"))); err == nil {
		t.Error("a failed write is a success")
	}
}

func BenchmarkThousandFindings(b *testing.B) {
	r := reporttest.Many(b, 1000)
	for b.Loop() {
		if err := gitlabreport.Write(io.Discard, reporttest.Of(r)); err != nil {
			b.Fatal(err)
		}
	}
}
