package cyclonedx_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/cyclonedx"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func render(t testing.TB, d dossier.Dossier) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := cyclonedx.Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// official compiles the schema that comes with the library's module.
func official(t testing.TB) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("where is the library's module: %v", err)
	}
	c := jsonschema.NewCompiler()
	for name, file := range map[string]string{"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "schema", file))
		if err != nil && name == "jsf-0.82.schema.json" {
			text, err = []byte("{}"), nil // signatures, which a BOM of ours has none of
		}
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	c.AssertFormat()
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGoldens(t *testing.T) {
	schema := official(t)
	for name, d := range reporttest.Dossiers(t) {
		t.Run(name, func(t *testing.T) {
			text := render(t, d)
			reporttest.Golden(t, *update, name+".cdx.json", text)
			if err := schema.Validate(map[string]any(reporttest.Decoded(t, text))); err != nil {
				t.Error(err)
			}
			var back cdx.BOM
			if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&back); err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if err := cdx.NewBOMEncoder(&again, cdx.BOMFileFormatJSON).Encode(&back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(reporttest.Decoded(t, text), reporttest.Decoded(t, again.Bytes())); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			if back.SpecVersion != cdx.SpecVersion1_6 {
				t.Errorf("version %s", back.SpecVersion)
			}
			refs(t, back)
			if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("byte %d does not print", i)
			}
		})
	}
}

// refs checks that each bom-ref stands once and leads somewhere.
func refs(t *testing.T, bom cdx.BOM) {
	t.Helper()
	seen := map[string]bool{}
	add := func(ref string) {
		if ref == "" || seen[ref] {
			t.Errorf("bom-ref %q is empty or stands twice", ref)
		}
		seen[ref] = true
	}
	add(bom.Metadata.Component.BOMRef)
	for _, c := range *bom.Metadata.Tools.Components {
		add(c.BOMRef)
	}
	if bom.Components != nil {
		for _, c := range *bom.Components {
			add(c.BOMRef)
		}
	}
	if bom.Vulnerabilities != nil {
		for _, v := range *bom.Vulnerabilities {
			add(v.BOMRef)
			for _, a := range *v.Affects {
				if !seen[a.Ref] {
					t.Errorf("%s affects %s, which is not there", v.ID, a.Ref)
				}
			}
		}
	}
}

// TestSchemaRefuses shows that the validation in TestGoldens can fail.
func TestSchemaRefuses(t *testing.T) {
	schema := official(t)
	text := render(t, reporttest.Dossiers(t)["partial"])
	vuln := func(d map[string]any) map[string]any { return reporttest.At(d, "vulnerabilities", 0).(map[string]any) }
	for _, c := range []reporttest.Change{
		{Name: "format", Do: func(d map[string]any) { d["bomFormat"] = "SPDX" }},
		{Name: "no specVersion", Do: func(d map[string]any) { delete(d, "specVersion") }},
		{Name: "unknown field", Do: func(d map[string]any) { d["verdict"] = "clean" }},
		{Name: "serial number", Do: func(d map[string]any) { d["serialNumber"] = "1" }},
		{Name: "version", Do: func(d map[string]any) { d["version"] = 0.0 }},
		{Name: "component type", Do: func(d map[string]any) { reporttest.At(d, "components", 0).(map[string]any)["type"] = "package" }},
		{Name: "no component name", Do: func(d map[string]any) { delete(reporttest.At(d, "components", 0).(map[string]any), "name") }},
		{Name: "severity", Do: func(d map[string]any) { reporttest.At(vuln(d), "ratings", 0).(map[string]any)["severity"] = "Critical" }},
		{Name: "state", Do: func(d map[string]any) { vuln(d)["analysis"].(map[string]any)["state"] = "open" }},
		{Name: "aggregate", Do: func(d map[string]any) { reporttest.At(d, "compositions", 0).(map[string]any)["aggregate"] = "most" }},
		{Name: "annotation without text", Do: func(d map[string]any) { delete(reporttest.At(d, "annotations", 0).(map[string]any), "text") }},
	} {
		doc := reporttest.Decoded(t, text)
		c.Do(doc)
		if schema.Validate(map[string]any(doc)) == nil {
			t.Errorf("%s: not noticed", c.Name)
		}
	}
}

func TestIncompleteIsNeverEmpty(t *testing.T) {
	for name, d := range reporttest.Dossiers(t) {
		bom := cyclonedx.New(d)
		said := slices.ContainsFunc(*bom.Vulnerabilities, func(v cdx.Vulnerability) bool { return v.ID == cyclonedx.Incomplete })
		want := slices.Contains(reporttest.Incomplete(), name)
		if said != want || (bom.Annotations != nil) != want {
			t.Errorf("%s: said %t, annotated %t, want %t", name, said, bom.Annotations != nil, want)
		}
		if a := (*bom.Compositions)[0].Aggregate; a == cdx.CompositionAggregateComplete || want && a != cdx.CompositionAggregateIncomplete {
			t.Errorf("%s: aggregate %s", name, a)
		}
	}
}

func TestHashes(t *testing.T) {
	r := reporttest.Result(t, "clean")
	r.Fetches = []finding.Fetch{
		{Name: "good", Version: "1.0.0", Integrity: "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="},
		{Name: "short", Version: "1.0.0", Integrity: "sha512-abcd"},
		{Name: "weak", Version: "1.0.0", Integrity: "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
		{Name: "odd", Version: "1.0.0", Integrity: "sha512"},
		{Name: "refused", Version: "1.0.0", Refused: "not pinned"},
	}
	got := map[string]string{}
	for _, c := range *cyclonedx.New(reporttest.Of(r)).Components {
		if c.Hashes != nil {
			got[c.Name] = string((*c.Hashes)[0].Algorithm) + " " + (*c.Hashes)[0].Value[:8]
		} else if c.Type == cdx.ComponentTypeLibrary {
			got[c.Name] = ""
		}
	}
	if diff := cmp.Diff(map[string]string{"good": "SHA-512 cf83e135", "short": "", "weak": "", "odd": ""}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzWrite(f *testing.F) {
	schema := official(f)
	reporttest.Seed(f)
	like := reporttest.Result(f, "malicious")
	f.Fuzz(func(t *testing.T, text string, n int) {
		d := reporttest.Hostile(like, text, n)
		bom := render(t, d)
		if err := schema.Validate(map[string]any(reporttest.Decoded(t, bom))); err != nil {
			t.Error(err)
		}
		var back cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(bom), cdx.BOMFileFormatJSON).Decode(&back); err != nil {
			t.Fatal(err)
		}
		refs(t, back)
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWriteError(t *testing.T) {
	if err := cyclonedx.Write(fullDisk{}, reporttest.Of(reporttest.Result(t, "clean"))); err == nil {
		t.Error("a failed write is a success")
	}
}

func BenchmarkThousandFindings(b *testing.B) {
	r := reporttest.Many(b, 1000)
	for b.Loop() {
		if err := cyclonedx.Write(io.Discard, reporttest.Of(r)); err != nil {
			b.Fatal(err)
		}
	}
}
