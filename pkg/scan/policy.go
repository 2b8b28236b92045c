package scan

import "fmt"

// Policy is what a scan's findings are weighed by, beside the rules. Who plans a
// scan makes it: nothing in it comes from the change under scan, but what is void.
type Policy struct {
	// Target is the branch whose last good scan is the baseline; "" for none.
	Target string `json:"target,omitempty"`
	// Baseline are scans of that branch, newest first, at most MaxBaselines: the
	// first one that is good counts.
	Baseline []ID `json:"baseline,omitempty"`
	// Suppressions are what people vouched for, at most MaxSuppressions.
	Suppressions []Suppression `json:"suppressions,omitempty"`
	// Problems are suppressions that could not be used, in plain words.
	Problems []string `json:"problems,omitempty"`
}

// Bounds of a Policy.
const (
	MaxBaselines    = 10
	MaxSuppressions = 400
	maxProblems     = 20
	maxPolicyText   = 2000 // bytes of one text
)

// Suppression is a person's word that findings of a package are no reason to
// worry: for a while, for a rule, and for versions or one content of it.
type Suppression struct {
	Source string `json:"source"` // the file that it stands in
	Line   int    `json:"line"`
	// Package is a package URL without version, in canonical form.
	Package string `json:"package"`
	// Version is a range in the words of the package's ecosystem, "" where
	// Integrity says which content.
	Version string `json:"version,omitempty"`
	// Integrity is a subresource integrity string of the package's archive.
	Integrity string `json:"integrity,omitempty"`
	Rule      string `json:"rule"`
	Detail    string `json:"detail,omitempty"` // a finding's; "" means any
	Root      string `json:"root,omitempty"`   // project root; "" means any
	Owner     string `json:"owner"`
	Reason    string `json:"reason"`
	Expires   string `json:"expires"` // the last day it holds, in UTC: "2026-12-31"
	// Void says why it does not count; "" for one that does.
	Void string `json:"void,omitempty"`
}

// validate bounds the policy.
func (p Policy) validate() error {
	if n := len(p.Baseline); n > MaxBaselines {
		return fmt.Errorf("scan request names %d scans to compare with, at most %d are allowed", n, MaxBaselines)
	}
	for _, id := range p.Baseline {
		if _, err := ParseID(string(id)); err != nil {
			return fmt.Errorf("scan request's baseline: %w", err)
		}
	}
	if n := len(p.Suppressions); n > MaxSuppressions {
		return fmt.Errorf("scan request has %d suppressions, at most %d are allowed", n, MaxSuppressions)
	}
	if n := len(p.Problems); n > maxProblems {
		return fmt.Errorf("scan request has %d problems of its policy, at most %d are allowed", n, maxProblems)
	}
	texts := append([]string{p.Target}, p.Problems...)
	for _, s := range p.Suppressions {
		texts = append(texts, s.Source, s.Package, s.Version, s.Integrity, s.Rule, s.Detail, s.Root, s.Owner, s.Reason, s.Expires, s.Void)
	}
	for _, t := range texts {
		if len(t) > maxPolicyText {
			return fmt.Errorf("scan request's policy holds a text of %d bytes, at most %d are allowed", len(t), maxPolicyText)
		}
	}
	return nil
}
