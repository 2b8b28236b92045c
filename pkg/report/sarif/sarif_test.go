package sarif_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	lib "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
	"github.com/falconer-sec/falconer/pkg/report/sarif"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, d dossier.Dossier) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sarif.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGoldens(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		t.Run(name, func(t *testing.T) {
			text := render(t, d)
			reporttest.Golden(t, *update, name+".sarif", text)
			back, err := lib.FromBytes(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Validate(); err != nil { // with the schema that the library carries
				t.Error(err)
			}
			again, err := json.MarshalIndent(back, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(reporttest.Decoded(t, text), reporttest.Decoded(t, again)); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("byte %d does not print", i)
			}
		})
	}
}

func TestSuccess(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		log := sarif.New(d)
		complete, failures := true, 0
		for _, r := range log.Runs {
			for _, v := range r.Invocations {
				complete = complete && *v.ExecutionSuccessful
				for _, n := range v.ToolExecutionNotifications {
					if n.Level == lib.LevelError {
						failures++
					}
				}
			}
		}
		want := !slices.Contains(reporttest.Incomplete(), name)
		if len(log.Runs) == 0 || complete != want || (failures == 0) != want {
			t.Errorf("%s: %d runs, successful %t, %d failures; want successful %t", name, len(log.Runs), complete, failures, want)
		}
	}
}

// TestSchemaRefuses shows that the validation in TestGoldens can fail.
func TestSchemaRefuses(t *testing.T) {
	text := render(t, reporttest.Dossiers(t)["malicious"])
	run := func(d map[string]any) map[string]any { return reporttest.At(d, "runs", 0).(map[string]any) }
	for _, c := range []reporttest.Change{
		{Name: "version", Do: func(d map[string]any) { d["version"] = "2.0.0" }},
		{Name: "no tool", Do: func(d map[string]any) { delete(run(d), "tool") }},
		{Name: "no driver name", Do: func(d map[string]any) { delete(reporttest.At(run(d), "tool", "driver").(map[string]any), "name") }},
		{Name: "no executionSuccessful", Do: func(d map[string]any) {
			delete(reporttest.At(run(d), "invocations", 0).(map[string]any), "executionSuccessful")
		}},
		{Name: "level", Do: func(d map[string]any) {
			reporttest.At(run(d), "results", 0).(map[string]any)["level"] = "critical"
		}},
		{Name: "no message", Do: func(d map[string]any) { delete(reporttest.At(run(d), "results", 0).(map[string]any), "message") }},
		{Name: "guid", Do: func(d map[string]any) { reporttest.At(run(d), "results", 0).(map[string]any)["guid"] = "1" }},
		{Name: "line", Do: func(d map[string]any) {
			reporttest.At(run(d), "results", 0, "locations", 0, "physicalLocation", "region").(map[string]any)["startLine"] = 0.0
		}},
	} {
		doc := reporttest.Decoded(t, text)
		c.Do(doc)
		changed, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		log, err := lib.FromBytes(changed)
		if err != nil {
			continue // refused even earlier
		}
		if log.Validate() == nil {
			t.Errorf("%s: not noticed", c.Name)
		}
	}
}

// TestMessagesAreInert: brackets are links and braces placeholders in SARIF.
func TestMessagesAreInert(t *testing.T) {
	r := reporttest.Result(t, "malicious")
	const evil = `[click](https://evil.example.com) {0} \[x](https://evil.example.com)`
	for i := range r.Findings {
		f := &r.Findings[i]
		f.Rule, f.Summary, f.Script, f.Package.Name = evil, evil, evil, evil
	}
	r.Incomplete, r.Lockfile = []string{evil}, "a b%[x]#?.json"
	run := sarif.New(reporttest.Of(r)).Runs[0]
	texts := []string{*run.Invocations[0].ToolExecutionNotifications[0].Message.Text, *run.Tool.Driver.Rules[0].ShortDescription.Text}
	for _, x := range run.Results {
		texts = append(texts, *x.Message.Text)
		if got := *x.Locations[0].PhysicalLocation.ArtifactLocation.URI; got != "web/a%20b%25%5Bx%5D%23%3F.json" {
			t.Errorf("URI %s", got)
		}
	}
	for _, s := range texts {
		rest := strings.NewReplacer(`\\`, "", `\[`, "", `\]`, "", "{{", "", "}}", "").Replace(s)
		if strings.ContainsAny(rest, `[]{}\`) {
			t.Errorf("syntax in %q", s)
		}
	}
}

func TestFingerprints(t *testing.T) {
	r := reporttest.Result(t, "malicious")
	before := sarif.New(reporttest.Of(r)).Runs[0].Results
	for i := range r.Findings {
		for j := range r.Findings[i].Evidence {
			r.Findings[i].Evidence[j].Address = "198.51.100.1:9"
		}
	}
	seen := map[string]bool{}
	for i, x := range sarif.New(reporttest.Of(r)).Runs[0].Results {
		p := x.PartialFingerprints["falconer/v1"]
		if p == "" || p != before[i].PartialFingerprints["falconer/v1"] || seen[p] {
			t.Errorf("result %d: fingerprint %q", i, p)
		}
		seen[p] = true
	}
}

func TestLevels(t *testing.T) {
	r := reporttest.Result(t, "suspicious")
	for p, want := range map[finding.Priority]string{finding.Critical: "error", finding.Error: "error", finding.Warning: "warning", finding.Notice: "note"} {
		r.Findings[0].Priority = p
		if got := sarif.New(reporttest.Of(r)).Runs[0].Results[0].Level; got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
}

func FuzzWrite(f *testing.F) {
	reporttest.Seed(f)
	like := reporttest.Result(f, "malicious")
	f.Fuzz(func(t *testing.T, text string, n int) {
		d := reporttest.Hostile(like, text, n)
		log, err := lib.FromBytes(render(t, d))
		if err == nil {
			err = log.Validate()
		}
		if err != nil {
			t.Error(err)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWriteError(t *testing.T) {
	if err := sarif.Write(fullDisk{}, reporttest.Of(reporttest.Result(t, "clean"))); err == nil {
		t.Error("a failed write is a success")
	}
}

func BenchmarkThousandFindings(b *testing.B) {
	r := reporttest.Many(b, 1000)
	for b.Loop() {
		if err := sarif.Write(io.Discard, reporttest.Of(r)); err != nil {
			b.Fatal(err)
		}
	}
}
