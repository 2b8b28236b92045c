package reporter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Statuses sets a commit status at GitLab for each scan: pending once it was
// asked for, running once it started, then success for clean and suspicious,
// failed for malicious and inconclusive, with one line that says why. A scan
// without a commit, or of a source that is on no forge ("local/..."), has none.
//
// Events may come in any order, late (as a replayed dead letter) and at once:
// what a status ends at is the newest result that is stored. A result is stored
// before it is told of.
type Statuses struct {
	client  *gitlab.Client
	results Results // nil: what is told last counts
	link    string
}

var _ Follower = Statuses{}

// NewStatuses returns a sink that writes to GitLab. known may be nil where events
// come in order. link is the address that results are served below, "" for none:
// a status leads to <link>/<scan ID>.
func NewStatuses(c *gitlab.Client, known Results, link string) Statuses {
	return Statuses{client: c, results: known, link: strings.TrimSuffix(link, "/")}
}

// Name implements Sink.
func (Statuses) Name() string { return "gitlab status" }

// Follow implements Follower.
func (s Statuses) Follow(ctx context.Context, p Progress) error {
	r := p.Request
	st := s.status(r.Project, r.Commit, r.Ref, r.Manager, r.Root, r.ID)
	st.State, st.Description = gitlab.Pending, "waiting for a sandbox"
	if p.Started {
		st.State, st.Description = gitlab.Running, "installing in a sandbox"
	}
	return s.settle(ctx, st, r.ID, 0)
}

// Deliver implements Sink. Where GitLab refuses the token the error is
// transient: the event becomes a dead letter, not a verdict that nobody sees.
func (s Statuses) Deliver(ctx context.Context, r Report) error {
	if r.Rejected != nil {
		return s.reject(ctx, *r.Rejected)
	}
	st := s.status(r.Result.Project, r.Result.Commit, r.Result.Ref, r.Result.Manager, r.Result.Root, r.Result.ScanID)
	st.State, st.Description = outcome(*r.Result)
	return s.settle(ctx, st, r.Result.ScanID, r.Result.Revision)
}

// settle sets a status that says how far a scan was at a revision of its result,
// 0 for none yet; where there is a newer one, before or after, that counts.
func (s Statuses) settle(ctx context.Context, st gitlab.Status, id scan.ID, revision int) error {
	if !told(st) {
		return nil
	}
	for set := -1; ; set = revision {
		newest, err := s.newest(ctx, id)
		if err != nil {
			return err
		}
		if newest.Revision > revision {
			revision = newest.Revision
			st.State, st.Description = outcome(newest)
		}
		if set == revision {
			return nil
		}
		if err := s.set(ctx, st); err != nil {
			return err
		}
	}
}

// newest returns a scan's result as it is stored, one of revision 0 for none.
func (s Statuses) newest(ctx context.Context, id scan.ID) (finding.Result, error) {
	if s.results == nil {
		return finding.Result{}, nil
	}
	r, err := s.results.Get(ctx, id)
	if errors.Is(err, results.ErrNotFound) {
		return finding.Result{}, nil
	}
	return r, err
}

// reject tells of a source that could not be scanned; a result that there is
// counts more, as it may be told late, after a replay that succeeded. Where there is nothing to
// scan there is nothing to tell either.
func (s Statuses) reject(ctx context.Context, r event.Rejected) error {
	if r.Nothing {
		return nil
	}
	st := s.status(r.Project, r.Commit, r.Ref, r.Manager, r.Root, r.ScanID)
	st.State, st.Description = gitlab.Failed, "not scanned: "+line(r.Reason)
	if _, err := scan.ParseID(string(r.ScanID)); err != nil { // it never became a scan
		return s.set(ctx, st)
	}
	return s.settle(ctx, st, r.ScanID, 0)
}

// status makes a status without a state.
func (s Statuses) status(project, commit, ref, manager, root string, id scan.ID) gitlab.Status {
	st := gitlab.Status{Project: project, SHA: commit, Ref: ref, Name: strings.TrimSpace("falconer " + line(manager))}
	if root != "." && root != "" {
		st.Name += " " + line(root)
	}
	if s.link != "" && id != "" {
		st.TargetURL = s.link + "/" + string(id)
	}
	return st
}

// told reports whether there is anybody to tell of a status.
func told(st gitlab.Status) bool {
	return st.SHA != "" && st.Ref != "" && !strings.HasPrefix(st.Project, "local/")
}

func (s Statuses) set(ctx context.Context, st gitlab.Status) error {
	if !told(st) {
		return nil
	}
	return later(s.client.SetStatus(ctx, st))
}

// later makes what only a person can put right worth another delivery.
func later(err error) error {
	if errors.Is(err, gitlab.ErrRefused) {
		return fault.New("", fault.Transient, err)
	}
	return err
}

// outcome is a result as a status: its state and one line.
func outcome(r finding.Result) (gitlab.State, string) {
	why := ""
	if len(r.Reasons) > 0 {
		why = ": " + line(r.Reasons[0])
		if more := len(r.Reasons) - 1; more > 0 {
			why += fmt.Sprintf(" (and %d more)", more)
		}
	}
	switch r.Verdict {
	case finding.Clean:
		if r.Unweighed() {
			return gitlab.Success, "clean: nothing new that weighs, nothing left unchecked; " + line(strings.Join(r.Reasons[min(1, len(r.Reasons)):], "; "))
		}
		return gitlab.Success, "clean: nothing that a rule objects to, nothing left unchecked"
	case finding.Suspicious:
		return gitlab.Success, "suspicious" + why
	case finding.Malicious:
		return gitlab.Failed, "malicious" + why
	}
	return gitlab.Failed, "inconclusive, treat as not scanned" + why
}

// line makes one printable line of a text that nobody vouches for.
func line(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
}
