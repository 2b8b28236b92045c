package gitlab

import (
	"context"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// maxPages bounds the pages read of one list, of 100 entries each.
const maxPages = 50

// MergeRequest is an open merge request.
type MergeRequest struct {
	Project string // the target project
	IID     int64
	Target  string // branch
	Source  string // branch
	Fork    bool   // the source is another project
	Head    string // newest commit
}

// MergeRequests returns the open merge requests that a commit of a project is
// part of.
func (c *Client) MergeRequests(ctx context.Context, project, sha string) ([]MergeRequest, error) {
	list, resp, err := c.api.Commits.ListMergeRequestsByCommit(project, sha, gitlab.WithContext(ctx))
	if err != nil {
		return nil, classify("list the merge requests of "+sha+" in "+project, resp, err)
	}
	var out []MergeRequest
	for _, m := range list {
		if m.State == "opened" {
			out = append(out, MergeRequest{Project: project, IID: m.IID, Target: m.TargetBranch, Source: m.SourceBranch,
				Fork: m.SourceProjectID != m.TargetProjectID, Head: m.SHA})
		}
	}
	return out, nil
}

// Commits returns a merge request's commits, newest first, 100 at the most.
func (c *Client) Commits(ctx context.Context, m MergeRequest) ([]string, error) {
	list, resp, err := c.api.MergeRequests.GetMergeRequestCommits(m.Project, m.IID, &gitlab.GetMergeRequestCommitsOptions{
		ListOptions: gitlab.ListOptions{PerPage: 100}}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, classify("list the commits of a merge request of "+m.Project, resp, err)
	}
	var out []string
	for _, commit := range list {
		out = append(out, commit.ID)
	}
	return out, nil
}

// Thread is one discussion of a merge request, by its first note.
type Thread struct {
	ID       string
	Note     int64
	Body     string
	Author   int64
	Resolved bool
}

// Threads calls fn with a merge request's discussions, oldest first, until it
// returns false.
func (c *Client) Threads(ctx context.Context, m MergeRequest, fn func(Thread) bool) error {
	opt := &gitlab.ListMergeRequestDiscussionsOptions{ListOptions: gitlab.ListOptions{PerPage: 100, Page: 1}}
	for range maxPages {
		list, resp, err := c.api.Discussions.ListMergeRequestDiscussions(m.Project, m.IID, opt, gitlab.WithContext(ctx))
		if err != nil {
			return classify("list the discussions of a merge request of "+m.Project, resp, err)
		}
		for _, d := range list {
			if len(d.Notes) > 0 && !fn(thread(d)) {
				return nil
			}
		}
		if resp.NextPage == 0 {
			return nil
		}
		opt.Page = resp.NextPage
	}
	return nil
}

func thread(d *gitlab.Discussion) Thread {
	first := d.Notes[0]
	return Thread{ID: d.ID, Note: first.ID, Body: first.Body, Author: first.Author.ID, Resolved: first.Resolved}
}

// Start opens a discussion. It is never sent twice by itself: after an error
// that is fault.Transient it may exist all the same, see Threads.
func (c *Client) Start(ctx context.Context, m MergeRequest, body string) (Thread, error) {
	d, resp, err := c.api.Discussions.CreateMergeRequestDiscussion(m.Project, m.IID, &gitlab.CreateMergeRequestDiscussionOptions{Body: &body}, gitlab.WithContext(once(ctx)))
	if err != nil || len(d.Notes) == 0 {
		return Thread{}, classify("open a discussion in "+m.Project, resp, err)
	}
	return thread(d), nil
}

// Edit replaces the text of a discussion's first note.
func (c *Client) Edit(ctx context.Context, m MergeRequest, t Thread, body string) error {
	_, resp, err := c.api.Discussions.UpdateMergeRequestDiscussionNote(m.Project, m.IID, t.ID, t.Note,
		&gitlab.UpdateMergeRequestDiscussionNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	return classify("edit a discussion in "+m.Project, resp, err)
}

// Resolve marks a discussion as resolved, or as open again.
func (c *Client) Resolve(ctx context.Context, m MergeRequest, t Thread, resolved bool) error {
	_, resp, err := c.api.Discussions.ResolveMergeRequestDiscussion(m.Project, m.IID, t.ID,
		&gitlab.ResolveMergeRequestDiscussionOptions{Resolved: &resolved}, gitlab.WithContext(ctx))
	return classify("resolve a discussion in "+m.Project, resp, err)
}

// Remove deletes a discussion's first note, and with it the discussion where
// nobody answered.
func (c *Client) Remove(ctx context.Context, m MergeRequest, t Thread) error {
	resp, err := c.api.Discussions.DeleteMergeRequestDiscussionNote(m.Project, m.IID, t.ID, t.Note, gitlab.WithContext(ctx))
	return classify("delete a discussion in "+m.Project, resp, err)
}

// Self returns the number of the token's user.
func (c *Client) Self(ctx context.Context) (int64, error) {
	u, resp, err := c.api.Users.CurrentUser(gitlab.WithContext(ctx))
	if err != nil {
		return 0, classify("ask who the token belongs to", resp, err)
	}
	return u.ID, nil
}
