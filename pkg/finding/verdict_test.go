package finding_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/falconer-sec/falconer/pkg/finding"
)

func of(priorities ...finding.Priority) (all []finding.Finding) {
	for i, p := range priorities {
		all = append(all, finding.Finding{Rule: fmt.Sprint("rule", i), Priority: p, Package: finding.Package{PURL: "pkg:npm/a@1"}, Script: "postinstall"})
	}
	return all
}

func TestJudge(t *testing.T) {
	gap := []string{"the sensor lost 3 events"}
	for _, tt := range []struct {
		name       string
		findings   []finding.Finding
		incomplete []string
		want       finding.Verdict
		first      string // reason
		exit       int
	}{
		{"nothing", nil, nil, finding.Clean, "no rule of priority Warning or above matched, and nothing was left unchecked", 0},
		{"notices only", of(finding.Notice, finding.Debug), nil, finding.Clean, "no rule of priority Warning or above matched, and nothing was left unchecked", 0},
		{"a warning", of(finding.Notice, finding.Warning), nil, finding.Suspicious, "pkg:npm/a@1 (postinstall): rule1", 1},
		{"an error", of(finding.Error), nil, finding.Suspicious, "pkg:npm/a@1 (postinstall): rule0", 1},
		{"proof", of(finding.Warning, finding.Critical), nil, finding.Malicious, "pkg:npm/a@1 (postinstall): rule1", 2},
		{"nothing seen, and not everything watched", nil, gap, finding.Inconclusive, gap[0], 3},
		{"a doubt, and not everything watched", of(finding.Warning), gap, finding.Inconclusive, gap[0], 3},
		{"proof stands", of(finding.Alert), gap, finding.Malicious, "pkg:npm/a@1 (postinstall): rule0", 2},
	} {
		got, reasons := finding.Judge(tt.findings, tt.incomplete)
		if got != tt.want || len(reasons) == 0 || reasons[0] != tt.first || got.ExitCode() != tt.exit {
			t.Errorf("%s: got %s (exit %d), %q; want %s, %q", tt.name, got, got.ExitCode(), reasons, tt.want, tt.first)
		}
	}
}

func TestWorst(t *testing.T) {
	order := []finding.Verdict{"", finding.Clean, finding.Suspicious, finding.Inconclusive, finding.Malicious}
	for i, a := range order {
		for j, b := range order {
			if got, want := finding.Worst(a, b), order[max(i, j)]; got != want {
				t.Errorf("Worst(%q, %q) = %q, want %q", a, b, got, want)
			}
		}
	}
}

func TestPriority(t *testing.T) {
	for p := finding.Emergency; p <= finding.Debug; p++ {
		text, err := json.Marshal(p)
		var back finding.Priority
		if err != nil || json.Unmarshal(text, &back) != nil || back != p {
			t.Errorf("%s: %s, %v, %v", p, text, err, back)
		}
	}
	for _, s := range []string{"info", "INFORMATIONAL", "Informational"} {
		if p, err := finding.ParsePriority(s); err != nil || p != finding.Informational {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
	if _, err := finding.ParsePriority("urgent"); err == nil {
		t.Error("an unknown priority is taken")
	}
}

// TestFingerprint keeps parts apart: what one part ends with is not what the
// next begins with.
func TestFingerprint(t *testing.T) {
	if finding.Fingerprint("ab", "c") == finding.Fingerprint("a", "bc") || finding.Fingerprint("a") == finding.Fingerprint("a", "") {
		t.Error("two lists of parts share a fingerprint")
	}
	if got := finding.Fingerprint("a", "b"); got != "facdde7abf1eac5b301273ab2e282f79" {
		t.Errorf("got %s: findings would no longer be recognised in the next scan", got)
	}
}
