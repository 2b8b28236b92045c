package osv_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/ossf/osv-schema/bindings/go/osvschema"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/osv"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, d dossier.Dossier) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := osv.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGoldens(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		t.Run(name, func(t *testing.T) {
			text := render(t, d)
			reporttest.Golden(t, *update, name+".json", text)
			var doc osv.Document
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&doc); err != nil {
				t.Fatal(err)
			}
			records, _ := osv.Records(d)
			if len(records) != len(doc.Vulns) {
				t.Fatalf("%d records, want %d", len(doc.Vulns), len(records))
			}
			for i, raw := range doc.Vulns {
				var back osvschema.Vulnerability
				if err := protojson.Unmarshal(raw, &back); err != nil { // unknown fields are an error
					t.Fatal(err)
				}
				if !proto.Equal(&back, records[i]) {
					t.Errorf("round trip: %v, want %v", &back, records[i])
				}
				if broken := breaks(reporttest.Decoded(t, raw)); len(broken) > 0 {
					t.Errorf("breaks the schema: %q", broken)
				}
			}
			if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("byte %d does not print", i)
			}
			for range 20 { // protojson varies its output on purpose
				if !bytes.Equal(text, render(t, d)) {
					t.Fatal("rendered twice, not the same")
				}
			}
		})
	}
}

// breaks lists where a decoded record breaks OSV's schema, 1.7.5, as far as
// our records go.
func breaks(r map[string]any) (broken []string) {
	fail := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	known := []string{"schema_version", "id", "modified", "published", "summary", "details", "affected", "credits", "database_specific"}
	for k := range r {
		if !slices.Contains(known, k) {
			fail("unknown %s", k)
		}
	}
	if s, _ := r["id"].(string); !regexp.MustCompile(`^MAL-0000-falconer-[0-9a-f-]{36}$`).MatchString(s) {
		fail("id %q", s)
	}
	for _, k := range []string{"modified", "published"} {
		s, _ := r[k].(string)
		if _, err := time.Parse(time.RFC3339, s); err != nil || !strings.HasSuffix(s, "Z") {
			fail("%s %q", k, s)
		}
	}
	for _, k := range []string{"summary", "details", "schema_version"} {
		if s, _ := r[k].(string); s == "" {
			fail("no %s", k)
		}
	}
	affected, _ := r["affected"].([]any)
	if len(affected) != 1 {
		return append(broken, "not one package")
	}
	p, _ := affected[0].(map[string]any)["package"].(map[string]any)
	if p["name"] == nil || p["name"] == "" || p["ecosystem"] != "npm" {
		fail("package %v", p)
	}
	if v, _ := affected[0].(map[string]any)["versions"].([]any); len(v) != 1 || v[0] == "" {
		fail("versions %v", v)
	}
	credits, _ := r["credits"].([]any)
	if len(credits) != 1 || credits[0].(map[string]any)["type"] != "TOOL" || credits[0].(map[string]any)["name"] == nil {
		fail("credits %v", credits)
	}
	return broken
}

// TestChecksRefuse shows that the checks in TestGoldens can fail.
func TestChecksRefuse(t *testing.T) {
	var doc osv.Document
	if err := json.Unmarshal(render(t, reporttest.Dossiers(t)["malicious"]), &doc); err != nil {
		t.Fatal(err)
	}
	affected := func(d map[string]any) map[string]any { return reporttest.At(d, "affected", 0).(map[string]any) }
	for _, c := range []reporttest.Change{
		{Name: "unknown field", Do: func(d map[string]any) { d["verdict"] = "x" }},
		{Name: "no id", Do: func(d map[string]any) { delete(d, "id") }},
		{Name: "id of nobody's", Do: func(d map[string]any) { d["id"] = "FALCONER-1" }},
		{Name: "no modified", Do: func(d map[string]any) { delete(d, "modified") }},
		{Name: "zone", Do: func(d map[string]any) { d["modified"] = "2026-03-01T12:00:00+01:00" }},
		{Name: "no ecosystem", Do: func(d map[string]any) { delete(affected(d)["package"].(map[string]any), "ecosystem") }},
		{Name: "no name", Do: func(d map[string]any) { delete(affected(d)["package"].(map[string]any), "name") }},
		{Name: "no versions", Do: func(d map[string]any) { delete(affected(d), "versions") }},
		{Name: "credit", Do: func(d map[string]any) { reporttest.At(d, "credits", 0).(map[string]any)["type"] = "ROBOT" }},
	} {
		r := reporttest.Decoded(t, doc.Vulns[0])
		c.Do(r)
		if len(breaks(r)) == 0 {
			t.Errorf("%s: not noticed", c.Name)
		}
	}
}

// TestEmptyMeansClean: vulns is an empty list only where nothing is wrong that
// a record could not say.
func TestEmptyMeansClean(t *testing.T) {
	for name, want := range map[string]string{
		"clean": "[]", "suspicious": "[]", "malicious": "1", "inconclusive": "absent", "hostile": "absent", "partial": "1", "doubtful": "1", "several": "1", "rejected": "absent",
	} {
		doc := reporttest.Decoded(t, render(t, reporttest.Dossiers(t)[name]))
		got := "absent"
		if list, ok := doc["vulns"].([]any); ok && len(list) == 0 {
			got = "[]"
		} else if ok {
			got = fmt.Sprint(len(list))
		}
		if got != want || reporttest.At(doc, "scan", "complete") == slices.Contains(reporttest.Incomplete(), name) {
			t.Errorf("%s: vulns %s, complete %v; want %s", name, got, reporttest.At(doc, "scan", "complete"), want)
		}
	}
}

// TestNobodyIsAccusedOnAHint: a record names a package in public.
func TestNobodyIsAccusedOnAHint(t *testing.T) {
	records, unnamed := osv.Records(reporttest.Dossiers(t)["doubtful"])
	if len(records) != 1 || records[0].GetAffected()[0].GetPackage().GetName() != "@scope/thing" {
		t.Errorf("records %v", records)
	}
	var reasons []string
	for _, u := range unnamed {
		reasons = append(reasons, u.Package+": "+u.Reason)
	}
	slices.Sort(reasons)
	if diff := cmp.Diff([]string{
		"(no package could be named): no package could be named",
		"pkg:npm/framed@1.0.0: the package is only what the process itself named",
		"pkg:npm/react@1.0.0?vcs_url=git%2Bssh:%2F%2Fgit.example.com%2Fa.git: the package is not one of a public registry that OSV knows",
	}, reasons); diff != "" {
		t.Error(diff)
	}
	r := reporttest.Result(t, "malicious")
	for i := range r.Findings {
		r.Findings[i].Priority = max(r.Findings[i].Priority, finding.Error)
	}
	if records, _ := osv.Records(reporttest.Of(r)); len(records) > 0 {
		t.Errorf("what is only suspicious makes a record: %v", records)
	}
}

// TestRecordsSayNothingOfTheProject: they are made to be published.
func TestRecordsSayNothingOfTheProject(t *testing.T) {
	r := reporttest.Result(t, "malicious")
	r.Project, r.Ref, r.Commit, r.Root = "secret/project", "secret-branch", "5ec2e7", "secret-root"
	var doc osv.Document
	if err := json.Unmarshal(render(t, reporttest.Of(r)), &doc); err != nil {
		t.Fatal(err)
	}
	if s := string(doc.Vulns[0]); strings.Contains(s, "secret") || strings.Contains(s, "5ec2e7") || strings.Contains(s, string(r.ScanID)) {
		t.Error(s)
	}
}

func FuzzWrite(f *testing.F) {
	reporttest.Seed(f)
	like := reporttest.Result(f, "malicious")
	f.Fuzz(func(t *testing.T, text string, n int) {
		d := reporttest.Hostile(like, text, n)
		var doc osv.Document
		if err := json.Unmarshal(render(t, d), &doc); err != nil {
			t.Fatal(err)
		}
		for _, raw := range doc.Vulns {
			for _, b := range breaks(reporttest.Decoded(t, raw)) {
				if !strings.HasPrefix(b, "package") { // the ecosystem may be any that OSV knows
					t.Error(b)
				}
			}
		}
		if len(doc.Vulns) == 0 && doc.Vulns != nil && d.Verdict == finding.Malicious {
			t.Error("malice reads as an empty success")
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWriteError(t *testing.T) {
	if err := osv.Write(fullDisk{}, reporttest.Of(reporttest.Result(t, "clean"))); err == nil {
		t.Error("a failed write is a success")
	}
}

func BenchmarkThousandFindings(b *testing.B) {
	r := reporttest.Many(b, 1000)
	for b.Loop() {
		if err := osv.Write(io.Discard, reporttest.Of(r)); err != nil {
			b.Fatal(err)
		}
	}
}
