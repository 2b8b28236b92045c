package gitlabhook

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Bounds on what one event carries of a push.
const (
	maxChanged      = 10_000    // paths
	maxChangedBytes = 256 << 10 // bytes of all paths together
)

// pushed is what a push comes to.
func pushed(p *gitlab.PushEvent, w event.Webhook) (fact, string, error) {
	switch {
	case zero(p.After):
		return fact{}, "the push deletes " + cut(p.Ref), nil
	case len(p.Commits) == 0 && p.TotalCommitsCount == 0:
		return fact{}, "the push brings no commits to " + cut(p.Ref), nil
	}
	var paths [][]string
	for _, c := range p.Commits {
		if c != nil {
			paths = append(paths, c.Added, c.Modified, c.Removed)
		}
	}
	return moved(event.Push{
		Provider: "gitlab", ProjectID: p.ProjectID, Project: p.Project.PathWithNamespace, WebURL: p.Project.WebURL,
		Ref: p.Ref, Before: p.Before, After: p.After, Changed: changed(paths),
		Commits: int(max(p.TotalCommitsCount, int64(len(p.Commits)))), DefaultBranch: p.Project.DefaultBranch, Received: w.Received,
	}, "refs/")
}

// tagged is what a pushed tag comes to. A tag often brings no commits that the
// project did not have: it is scanned all the same, for it names a release. Of
// an annotated tag, "after" is the tag itself, and checkout_sha its commit.
func tagged(p *gitlab.TagEvent, w event.Webhook) (fact, string, error) {
	if zero(p.After) {
		return fact{}, "the push deletes " + cut(p.Ref), nil
	}
	after := p.After
	if commit(p.CheckoutSHA) && !zero(p.CheckoutSHA) {
		after = p.CheckoutSHA
	}
	var paths [][]string
	for _, c := range p.Commits {
		if c != nil {
			paths = append(paths, c.Added, c.Modified, c.Removed)
		}
	}
	return moved(event.Push{
		Provider: "gitlab", ProjectID: p.ProjectID, Project: p.Project.PathWithNamespace, WebURL: p.Project.WebURL,
		Ref: p.Ref, Before: p.Before, After: after, Changed: changed(paths),
		Commits: int(max(p.TotalCommitsCount, int64(len(p.Commits)))), Received: w.Received,
	}, "refs/tags/")
}

// moved checks a push and makes the event's content of it.
func moved(data event.Push, prefix string) (fact, string, error) {
	if !plain(data.DefaultBranch) { // it only decides who waits how long
		data.DefaultBranch = ""
	}
	err := errors.Join(checkCommit("after", data.After), checkProject(data.ProjectID, data.Project, data.WebURL))
	switch {
	case err != nil:
	case data.Before != "":
		err = checkCommit("before", data.Before)
	}
	if err == nil && (!strings.HasPrefix(data.Ref, prefix) || !plain(data.Ref)) {
		err = fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not a ref", data.Ref)
	}
	if err != nil {
		return fact{}, "", fault.New("", fault.Invalid, err)
	}
	return fact{event.RepoPush, data.Project, identity(data.WebURL, data.ProjectID, data.Ref, data.Before, data.After), data}, "", nil
}

// changed returns the paths of all lists, sorted, each once, within bounds.
// GitLab names at most 20 commits, so the list is a hint at best.
func changed(lists [][]string) []string {
	seen, bytes := map[string]bool{}, 0
	for _, list := range lists {
		for _, p := range list {
			if seen[p] || len(p) > maxPath || !fs.ValidPath(p) {
				continue
			}
			if bytes += len(p); bytes > maxChangedBytes || len(seen) >= maxChanged {
				return sorted(seen)
			}
			seen[p] = true
		}
	}
	return sorted(seen)
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for p := range set {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}
