package dossier_test

import (
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report/cyclonedx"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/gitlabreport"
	"github.com/falconer-sec/falconer/pkg/report/osv"
	"github.com/falconer-sec/falconer/pkg/report/reporttest"
	"github.com/falconer-sec/falconer/pkg/report/sarif"
)

// An issue is suppressed once all its findings are, and then in each form's own
// way; as long as one is not, it is what it was.
func TestSuppressedIssue(t *testing.T) {
	vouched := finding.Suppressed{Owner: "team", Reason: "looked", Expires: "2026-12-31", Source: ".falconer.yaml", Line: 3}
	compose := func(all bool) dossier.Dossier {
		r := reporttest.Result(t, "malicious")
		one := r.Findings[0]
		for _, f := range r.Findings {
			if f.Priority <= finding.Critical {
				one = f
			}
		}
		two := one
		two.ID, two.Priority = "another", finding.Error
		one.Suppressed = vouched
		if all {
			two.Suppressed = vouched
		}
		r.Findings = []finding.Finding{one, two}
		r.Counts.Findings = 2
		r.Verdict, r.Reasons = finding.Judge(r.Findings, r.Incomplete)
		return reporttest.Of(r)
	}
	d := compose(false)
	if len(d.Issues) != 1 || d.Issues[0].Suppressed != "" || d.Issues[0].Priority != finding.Error || len(d.Issues[0].Findings) != 2 {
		t.Errorf("one of two: %+v", d.Issues)
	}
	d = compose(true)
	if i := d.Issues[0]; !strings.Contains(i.Suppressed, "suppressed by team until 2026-12-31: looked (.falconer.yaml:3)") || i.Priority != finding.Critical {
		t.Errorf("both: %+v", i)
	}
	if x := sarif.New(d).Runs[0].Results[0]; len(x.Suppressions) != 1 || *x.Suppressions[0].Kind != "external" || *x.Suppressions[0].Justification != d.Issues[0].Suppressed {
		t.Errorf("SARIF: %+v", x.Suppressions)
	}
	if v := gitlabreport.New(d).Vulnerabilities[0]; len(v.Flags) != 1 || v.Severity != "Critical" {
		t.Errorf("GitLab: %+v", v)
	}
	if v := (*cyclonedx.New(d).Vulnerabilities)[0]; v.Analysis.State != "false_positive" || v.Recommendation != "" {
		t.Errorf("CycloneDX: %+v", v)
	}
	doc, err := osv.New(d)
	if err != nil || doc.Vulns == nil || len(doc.Vulns) != 0 || len(doc.Scan.Suppressed) != 1 || len(doc.Scan.Unnamed) != 0 {
		t.Errorf("OSV: %+v, %v", doc, err)
	}
}
