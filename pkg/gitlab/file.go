package gitlab

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Branch returns where a branch is, or ErrNotFound. It asks for the branch, not
// for whatever has its name: a tag may be called the same.
func (c *Client) Branch(ctx context.Context, project, name string) (Branch, error) {
	b, resp, err := c.api.Branches.GetBranch(project, name, gitlab.WithContext(ctx))
	if err != nil {
		return Branch{}, classify("look at branch "+name+" of "+project, resp, err)
	}
	if b.Commit == nil {
		return Branch{}, fault.Errorf(fault.Permanent, "gitlab: branch %.80q of %.80q has no commit: %w", name, project, ErrNotFound)
	}
	return Branch{b.Name, b.Commit.ID}, nil
}

// File returns what a file holds at a commit, or ErrNotFound. One of more bytes
// than limit is fault.TooLarge.
func (c *Client) File(ctx context.Context, project, sha, path string, limit int) ([]byte, error) {
	f, resp, err := c.api.RepositoryFiles.GetFile(project, path, &gitlab.GetFileOptions{Ref: &sha}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, classify("read "+path+" of "+project+" at "+sha, resp, err)
	}
	if f.Size > int64(limit) || len(f.Content) > base64.StdEncoding.EncodedLen(limit) {
		return nil, fault.Errorf(fault.TooLarge, "gitlab: %.80q of %.80q is larger than %d bytes", path, project, limit)
	}
	b, err := base64.StdEncoding.DecodeString(f.Content)
	if err != nil || f.Encoding != "base64" {
		return nil, classify("read "+path, nil, errors.New("GitLab sent no base64"))
	}
	return b, nil
}

func (s branches) GetBranch(project, name string, options ...option) (*gitlab.Branch, *gitlab.Response, error) {
	return call[*gitlab.Branch](s.api, http.MethodGet, in(project, "/repository/branches/%s", name), nil, options)
}

func (s repositoryFiles) GetFile(project, path string, opt *gitlab.GetFileOptions, options ...option) (*gitlab.File, *gitlab.Response, error) {
	return call[*gitlab.File](s.api, http.MethodGet, in(project, "/repository/files/%s", path), opt, options)
}
