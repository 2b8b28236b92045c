package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/falconer-sec/falconer/pkg/answers"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/weigh"
)

// Answers remembers which scan is of which content; *answers.Store is one.
// Errors are transient.
type Answers interface {
	Find(ctx context.Context, content scan.ID) (scan.ID, error)
	Remember(ctx context.Context, content, id scan.ID) error
}

var _ Answers = (*answers.Store)(nil)

// content identifies what a scan is of, without the commit: the project, its
// root, lockfile, recipe and rules, and the whole source, byte for byte. The
// lockfile alone would not do: a lifecycle script of the project or of a
// workspace may read, and run, any file of the source.
func content(r scan.Request) scan.ID {
	k := r.Key()
	k.Commit = r.Source.Digest
	return k.ID()
}

// elsewhere takes the requests out of the plan whose content was scanned at
// another commit, and returns those answers, as they are for this one. The
// others are remembered as the scans of their content.
func (p *Plan) elsewhere(ctx context.Context, memory Answers, from Results, now time.Time) ([]finding.Result, error) {
	if memory == nil || from == nil {
		return nil, nil
	}
	var open []scan.Request
	var known []finding.Result
	for _, r := range p.Requests {
		id, err := memory.Find(ctx, content(r))
		if err != nil {
			return nil, err
		}
		if id != "" && id != r.ID {
			result, err := from.Get(ctx, id)
			if err == nil && result.Verdict != finding.Inconclusive && result.Project == r.Project {
				if same, err := weighsTheSame(ctx, from, result, r, now); err != nil {
					return nil, err
				} else if same {
					known = append(known, at(result, r))
					continue
				}
			}
			if err != nil && !errors.Is(err, results.ErrNotFound) {
				return nil, err
			}
		}
		if err := memory.Remember(ctx, content(r), r.ID); err != nil {
			return nil, err
		}
		open = append(open, r)
	}
	p.Requests = open
	return known, nil
}

// weighsTheSame reports whether a result has the verdict that the request's policy
// gives it now: suppressions may have come, gone or expired since.
func weighsTheSame(ctx context.Context, from Results, result finding.Result, r scan.Request, now time.Time) (bool, error) {
	base, err := results.Baseline(ctx, from, r, r.Policy.Baseline)
	if err != nil {
		return false, err
	}
	if base != nil && base.ScanID == result.ScanID { // it is what there is to compare with
		base = nil
	}
	anew := result
	anew.Findings = slices.Clone(result.Findings)
	weigh.Result(&anew, r.Policy, base, now)
	return anew.Verdict == result.Verdict && vouched(anew) == vouched(result), nil
}

// vouched counts the findings that somebody vouched for.
func vouched(r finding.Result) (n int) {
	for _, f := range r.Findings {
		if f.Suppressed.Owner != "" {
			n++
		}
	}
	return n
}

// answered returns the requests as those of the scans that answer them.
func answered(asked []scan.Request, elsewhere []finding.Result) []scan.Request {
	out := slices.Clone(asked)
	for i, r := range out {
		for _, e := range elsewhere {
			if e.Root == r.Root && e.Manager == r.Manager {
				out[i].ID = e.ScanID
			}
		}
	}
	return out
}

// at is a result as the answer for another commit: it says so, and leads to the
// scan that there was.
func at(result finding.Result, r scan.Request) finding.Result {
	said := fmt.Sprintf("answered by scan %s of commit %.12s: its source is the same, byte for byte", result.ScanID, result.Commit)
	result.Reasons = append(result.Reasons[:len(result.Reasons):len(result.Reasons)], said)
	result.Commit, result.Ref = r.Commit, r.Ref
	return result
}
