package gitlab

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// What a comparison may come to before it counts as possibly cut: GitLab leaves
// files out beyond limits of its own, and says so only of some. These are below
// the lowest of them.
const (
	maxDiffs     = 100
	maxDiffLines = 5_000
	maxDiffBytes = 100 << 10
)

// Changes is what differs between two commits.
type Changes struct {
	Paths []string // old and new paths of the files named
	// Complete says that nothing hints at a list that was cut. It is no proof:
	// before something is left out because it isn't named here, look at it.
	Complete bool
}

// Compare asks what differs between two commits: directly, or, with base set,
// since the commit that both descend from.
func (c *Client) Compare(ctx context.Context, project, from, to string, base bool) (Changes, error) {
	opt := &gitlab.CompareOptions{From: &from, To: &to, Straight: gitlab.Ptr(!base)}
	req, err := c.api.NewRequest(http.MethodGet, "projects/"+gitlab.PathEscape(project)+"/repository/compare", opt, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
	if err != nil {
		return Changes{}, classify("compare", nil, err)
	}
	var raw comparison
	resp, err := c.api.Do(req, &raw)
	if err != nil {
		return Changes{}, classify("compare "+from+" and "+to+" of "+project, resp, err)
	}
	return raw.changes(), nil
}

// comparison is GitLab's answer, as far as it is needed; the client module's own
// type lacks what says that a diff was cut.
type comparison struct {
	Diffs []struct {
		Diff      string `json:"diff"`
		OldPath   string `json:"old_path"`
		NewPath   string `json:"new_path"`
		Collapsed bool   `json:"collapsed"`
		TooLarge  bool   `json:"too_large"`
	} `json:"diffs"`
	Timeout bool `json:"compare_timeout"`
	Same    bool `json:"compare_same_ref"`
}

func (c comparison) changes() Changes {
	out := Changes{Complete: !c.Timeout && len(c.Diffs) < maxDiffs && (len(c.Diffs) > 0 || c.Same)}
	size, lines := 0, 0
	for _, d := range c.Diffs {
		out.Paths = append(out.Paths, d.NewPath)
		if d.OldPath != d.NewPath {
			out.Paths = append(out.Paths, d.OldPath)
		}
		size += len(d.Diff)
		for i := range len(d.Diff) {
			if d.Diff[i] == '\n' {
				lines++
			}
		}
		if d.Collapsed || d.TooLarge {
			out.Complete = false
		}
	}
	out.Complete = out.Complete && size < maxDiffBytes && lines < maxDiffLines
	return out
}

// Digest returns the SHA-256 of a file at a commit, in hex, or ErrNotFound.
func (c *Client) Digest(ctx context.Context, project, sha, path string) (string, error) {
	f, resp, err := c.api.RepositoryFiles.GetFileMetaData(project, path, &gitlab.GetFileMetaDataOptions{Ref: &sha}, gitlab.WithContext(ctx))
	if err != nil {
		return "", classify("look at "+path+" of "+project+" at "+sha, resp, err)
	}
	if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != 32 {
		return "", classify("look at "+path, nil, errors.New("GitLab sent no SHA-256"))
	}
	return f.SHA256, nil
}
