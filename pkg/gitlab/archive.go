package gitlab

import (
	"context"
	"errors"
	"io"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Archive opens the gzip-compressed tar archive of a project's commit, with its
// single top-level directory. It streams; the caller closes it, which ends the
// request. The error of a read that breaks off is fault.Transient; a commit or
// project that GitLab does not know is ErrNotFound.
func (c *Client) Archive(ctx context.Context, project, sha string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	a := &archive{PipeReader: r, cancel: cancel, done: make(chan struct{})}
	first := &opening{w: w, began: make(chan struct{})}
	var failed error
	go func() {
		defer close(a.done)
		resp, err := c.api.Repositories.StreamArchive(project, first, &gitlab.ArchiveOptions{Format: gitlab.Ptr("tar.gz"), SHA: &sha}, gitlab.WithContext(ctx))
		failed = classify("archive of "+project+" at "+sha, resp, err)
		if failed == nil && !first.open {
			failed = fault.Errorf(fault.Transient, "gitlab: the archive of %s at %s is empty", project, sha)
		}
		_ = w.CloseWithError(failed) // always nil
	}()
	select {
	case <-first.began:
		return a, nil
	case <-a.done:
		cancel()
		return nil, failed
	}
}

// archive is the reading end.
type archive struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

var errClosed = errors.New("the archive is no longer needed")

// Close ends the download and waits for its end.
func (a *archive) Close() error {
	a.cancel()
	err := a.CloseWithError(errClosed)
	<-a.done
	return err
}

// opening is the writing end; it tells when the first bytes are there.
type opening struct {
	w     io.Writer
	open  bool
	began chan struct{}
}

// Write implements io.Writer.
func (o *opening) Write(b []byte) (int, error) {
	if !o.open {
		o.open = true
		close(o.began)
	}
	return o.w.Write(b)
}
