package report

import "github.com/falconer-sec/falconer/pkg/finding"

// advice says, for each verdict, what to do.
func advice(v finding.Verdict) []string {
	switch v {
	case finding.Malicious:
		return []string{
			"Don't install this lockfile. Remove the packages named above, or pin a version from before, and scan again.",
			"Where it was installed already, on a developer's machine or in CI, treat every credential that machine could reach as stolen: revoke and replace it.",
			"Report the package to its registry.",
		}
	case finding.Suspicious:
		return []string{
			"Look at what the packages above did, and whether their documentation explains it; if not, treat them as malicious.",
			"Compare with the scan of the version you used before: what is new deserves the closer look.",
		}
	case finding.Clean:
		return []string{
			"Nothing. This says what installing did here; it does not say what the code does once it is imported, elsewhere or later.",
		}
	}
	return []string{
		"Treat this as not scanned: what could not be checked is listed above, and may hide anything.",
		"Remove the cause and scan again.",
	}
}

// next says what to do.
func (p *printer) next(r finding.Result) { p.list("What to do", advice(r.Verdict)) }
