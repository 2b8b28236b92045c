package gitlab

import (
	"context"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// Project is what is known of a project.
type Project struct {
	ID            int64
	Path          string // with namespace
	WebURL        string
	DefaultBranch string // "" of an empty repository
}

// Project looks a project up, or returns ErrNotFound.
func (c *Client) Project(ctx context.Context, path string) (Project, error) {
	p, resp, err := c.api.Projects.GetProject(path, nil, gitlab.WithContext(ctx))
	if err != nil {
		return Project{}, classify("look at "+path, resp, err)
	}
	return Project{ID: p.ID, Path: p.PathWithNamespace, WebURL: p.WebURL, DefaultBranch: p.DefaultBranch}, nil
}

// Branch is a branch and where it is.
type Branch struct{ Name, SHA string }

// Branches lists a project's branches, at most limit. complete says that there
// are no more.
func (c *Client) Branches(ctx context.Context, project string, limit int) (list []Branch, complete bool, err error) {
	opt := &gitlab.ListBranchesOptions{ListOptions: gitlab.ListOptions{PerPage: 100, Page: 1}}
	for {
		page, resp, err := c.api.Branches.ListBranches(project, opt, gitlab.WithContext(ctx))
		if err != nil {
			return nil, false, classify("list branches of "+project, resp, err)
		}
		for _, b := range page {
			if b.Commit == nil {
				continue
			}
			if len(list) == limit {
				return list, false, nil
			}
			list = append(list, Branch{b.Name, b.Commit.ID})
		}
		if resp.NextPage == 0 {
			return list, true, nil
		}
		opt.Page = resp.NextPage
	}
}
