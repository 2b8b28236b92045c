package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/falconer-sec/falconer/pkg/report/cyclonedx"
	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
	"github.com/falconer-sec/falconer/pkg/report/osv"
)

// The reports for programs name what the one for people names, with the same
// exit code, and a source's projects stand in one document.
func TestFormats(t *testing.T) {
	a := newAccount(t)
	bad := a.write("project", project(t, "stolen-key"))
	file := filepath.Join(a.home, "gl-dependency-scanning-report.json")
	o := a.falconer("scan", "--quiet", "--format=gitlab", "--output", file, bad)
	b, err := os.ReadFile(file)
	var gl gitlabreport.Report
	if err != nil || json.Unmarshal(b, &gl) != nil || o.code != 2 || gl.Scan.Status != "success" || len(gl.Vulnerabilities) == 0 {
		t.Fatalf("exit code %d, %v\n%s%s", o.code, err, b, o.errout)
	}
	if v := gl.Vulnerabilities[0]; v.Severity != "Critical" || v.Location.File != "package-lock.json" || v.Location.Dependency.Package.Name != "falconer-corpus-stolen-key" {
		t.Errorf("%+v", v)
	}
	o = a.falconer("scan", "--quiet", "--format=osv", bad)
	var doc osv.Document
	if err := json.Unmarshal([]byte(o.out), &doc); err != nil || o.code != 2 || len(doc.Vulns) != 1 || !strings.Contains(string(doc.Vulns[0]), "falconer-corpus-stolen-key") {
		t.Errorf("exit code %d, %v\n%s", o.code, err, o.out)
	}
}

// An install that does not end in time is a success in no form.
func TestFormatsOfTimeout(t *testing.T) {
	a := newAccount(t)
	dir := a.write("project", project(t, "hang"))
	for form, ok := range map[string]func(out string) bool{
		"sarif": func(out string) bool {
			log, err := sarif.FromString(out)
			return err == nil && log.Validate() == nil && !*log.Runs[0].Invocations[0].ExecutionSuccessful
		},
		"cyclonedx": func(out string) bool {
			var bom cdx.BOM
			err := cdx.NewBOMDecoder(strings.NewReader(out), cdx.BOMFileFormatJSON).Decode(&bom)
			return err == nil && slices.ContainsFunc(*bom.Vulnerabilities, func(v cdx.Vulnerability) bool { return v.ID == cyclonedx.Incomplete })
		},
	} {
		o := a.falconer("scan", "--quiet", "--timeout=5s", "--format="+form, dir)
		if o.code != 3 || !ok(o.out) {
			t.Errorf("%s: exit code %d\n%s%s", form, o.code, o.out, o.errout)
		}
	}
	if o := a.falconer("scan", "--format=pdf", dir); o.code != 4 || !strings.Contains(o.errout, "cyclonedx") {
		t.Errorf("an unknown format: exit code %d\n%s", o.code, o.errout)
	}
}
