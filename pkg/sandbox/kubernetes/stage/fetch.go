package stage

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// fetch opens the archive. Until the registry answers it is asked again: its
// pod may be starting.
func (s Stage) fetch(ctx context.Context, address string) (io.ReadCloser, error) {
	for {
		body, err := s.try(ctx, address)
		if !fault.Retryable(err) {
			return body, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(s.Pause):
		}
	}
}

// try asks once. Errors don't repeat the address: it is a credential.
func (s Stage) try(ctx context.Context, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "stage: the source's address is not usable")
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		if u, ok := err.(*url.Error); ok {
			err = u.Err
		}
		return nil, fault.New("stage: fetch the source", fault.Transient, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusGone:
		return nil, fault.Errorf(fault.Unauthorized, "stage: the source is not given away (%d): its ticket has expired or was used", code)
	case fault.StatusRetried(code) && code != http.StatusNotFound:
		return nil, fault.Errorf(fault.Transient, "stage: fetch the source: answered %d", code)
	default:
		return nil, fault.Errorf(fault.Invalid, "stage: fetch the source: answered %d", code)
	}
}
