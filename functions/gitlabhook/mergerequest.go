package gitlabhook

import (
	"errors"
	"strconv"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// requested is what a merge request comes to: an event when it is opened, opened
// again or gets new commits. One from a fork is treated like any other: GitLab
// keeps its commits in the target project too, so that nothing of the fork is
// needed.
func requested(p *gitlab.MergeEvent, w event.Webhook) (fact, string, error) {
	a := p.ObjectAttributes
	switch {
	case a.Action == "open" || a.Action == "reopen":
	case a.Action == "update" && a.OldRev != "":
	case a.Action == "update":
		return fact{}, "the merge request was edited, without new commits", nil
	default:
		return fact{}, "nothing to scan when a merge request meets the action " + cut(a.Action), nil
	}
	data := event.MergeRequest{
		Provider: "gitlab", ProjectID: p.Project.ID, Project: p.Project.PathWithNamespace, WebURL: p.Project.WebURL,
		IID: a.IID, Source: a.SourceBranch, Target: a.TargetBranch, Head: a.LastCommit.ID, Action: a.Action, Before: a.OldRev, Received: w.Received,
	}
	err := errors.Join(checkProject(data.ProjectID, data.Project, data.WebURL), checkCommit("last_commit", data.Head))
	if data.Before != "" {
		err = errors.Join(err, checkCommit("oldrev", data.Before))
	}
	for _, branch := range []string{data.Source, data.Target} {
		if branch == "" || !plain(branch) {
			err = errors.Join(err, fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not a branch", branch))
		}
	}
	if data.IID <= 0 {
		err = errors.Join(err, fault.Errorf(fault.Invalid, "gitlabhook: merge request %d is not positive", data.IID))
	}
	if a.SourceProjectID != a.TargetProjectID {
		if a.Source == nil || checkProject(max(a.SourceProjectID, 1), a.Source.PathWithNamespace, "") != nil {
			err = errors.Join(err, fault.Errorf(fault.Invalid, "gitlabhook: the merge request's source project has no path"))
		} else {
			data.Fork = a.Source.PathWithNamespace
		}
	}
	if err != nil {
		return fact{}, "", fault.New("", fault.Invalid, err)
	}
	id := identity(data.WebURL, data.ProjectID, strconv.FormatInt(data.IID, 10), data.Action, data.Before, data.Head, data.Target)
	return fact{event.RepoMergeRequest, data.Project, id, data}, "", nil
}
