package gitlab

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// State is where a commit status stands.
type State string

// The states that Falconer sets, in the order in which they follow each other.
const (
	Pending State = "pending"
	Running State = "running"
	Success State = "success"
	Failed  State = "failed"
)

// Ended reports whether the state is an outcome.
func (s State) Ended() bool { return s == Success || s == Failed }

var order = map[State]int{Pending: 1, Running: 2, Success: 3, Failed: 3}

// MaxText is the longest name and description of a status, in characters;
// longer ones are cut.
const MaxText = 255

// Status is one line at a commit.
type Status struct {
	Project     string
	SHA         string
	Ref         string // branch, tag or full ref; needed
	Name        string // what distinguishes this line from others of the commit
	State       State
	Description string
	TargetURL   string // "" for none
}

// SetStatus brings a commit's status to what s says. It is idempotent: a status
// that says so already is left alone, an outcome is never taken back to pending
// or running, and a status goes to the pipeline that has it, else to the
// commit's newest pipeline of this ref. Calls of one client for the same status
// follow each other; between two processes an outcome may be taken back by who
// looked before it was there.
func (c *Client) SetStatus(ctx context.Context, s Status) error {
	s.Name, s.Description = cut(s.Name), cut(s.Description)
	done, err := c.turns.take(ctx, s.Project, s.SHA, s.Name)
	if err != nil {
		return err
	}
	defer done()
	// Two processes may meet; whoever comes second sees the other's, and looks again.
	for range 3 {
		done, err := c.setStatus(ctx, s)
		if done || err != nil {
			return err
		}
	}
	return fault.Errorf(fault.Transient, "gitlab: the status %q of %s at %s changes all the time", s.Name, s.Project, s.SHA)
}

func (c *Client) setStatus(ctx context.Context, s Status) (done bool, err error) {
	have, err := c.status(ctx, s)
	if err != nil {
		return false, err
	}
	opt := &gitlab.SetCommitStatusOptions{State: gitlab.BuildStateValue(s.State), Ref: &s.Ref, Name: &s.Name, Description: &s.Description}
	if s.TargetURL != "" {
		opt.TargetURL = &s.TargetURL
	}
	if have != nil {
		state := State(have.Status)
		if state == s.State && have.Description == s.Description && have.TargetURL == s.TargetURL || order[state] > order[s.State] || state == s.State && !state.Ended() {
			return true, nil
		}
		opt.PipelineID = &have.PipelineID
	} else if opt.PipelineID, err = c.pipeline(ctx, s); err != nil {
		return false, err
	}
	// GitLab has no way from an outcome to the same one: the text changes on a
	// detour.
	if have != nil && State(have.Status) == s.State {
		detour := *opt
		detour.State = gitlab.BuildStateValue(Running)
		if ok, err := c.post(ctx, s, &detour); !ok || err != nil {
			return false, err
		}
	}
	return c.post(ctx, s, opt)
}

// post sets a status. done is false where GitLab says that the status has moved
// meanwhile.
func (c *Client) post(ctx context.Context, s Status, opt *gitlab.SetCommitStatusOptions) (done bool, err error) {
	_, resp, err := c.api.Commits.SetCommitStatus(s.Project, s.SHA, opt, gitlab.WithContext(ctx))
	if err != nil && resp != nil && resp.StatusCode == http.StatusBadRequest && strings.Contains(err.Error(), "Cannot transition") {
		return false, nil
	}
	return err == nil, classify("set the status of "+s.SHA+" in "+s.Project, resp, err)
}

// status finds the newest status of this name at the commit, nil for none.
func (c *Client) status(ctx context.Context, s Status) (*gitlab.CommitStatus, error) {
	list, resp, err := c.api.Commits.GetCommitStatuses(s.Project, s.SHA, &gitlab.GetCommitStatusesOptions{
		ListOptions: gitlab.ListOptions{PerPage: 100}, Name: &s.Name}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, classify("read the statuses of "+s.SHA+" in "+s.Project, resp, err)
	}
	var newest *gitlab.CommitStatus
	for _, st := range list {
		if st.Name == s.Name && (newest == nil || st.ID > newest.ID) {
			newest = st
		}
	}
	return newest, nil
}

// pipeline finds the commit's newest pipeline, of this ref if there is one; nil
// for none.
func (c *Client) pipeline(ctx context.Context, s Status) (*int64, error) {
	list, resp, err := c.api.Pipelines.ListProjectPipelines(s.Project, &gitlab.ListProjectPipelinesOptions{
		ListOptions: gitlab.ListOptions{PerPage: 100}, SHA: &s.SHA}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, classify("list the pipelines of "+s.SHA+" in "+s.Project, resp, err)
	}
	var newest, other *int64
	for _, p := range list {
		if p.Ref == s.Ref && (newest == nil || p.ID > *newest) {
			newest = &p.ID
		}
		if other == nil || p.ID > *other {
			other = &p.ID
		}
	}
	if newest == nil {
		newest = other
	}
	return newest, nil
}

// cut shortens a text to what GitLab takes.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= MaxText {
		return s
	}
	return string([]rune(s)[:MaxText-3]) + "..."
}
