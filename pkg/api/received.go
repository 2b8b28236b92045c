package api

import (
	"errors"
	"io"
	"net/http"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Received returns a request's body whose errors have a kind: fault.TooLarge
// where http.MaxBytesReader says so, fault.Invalid where the sender broke off.
func Received(body io.Reader) io.Reader { return received{body} }

type received struct{ r io.Reader }

// Read implements io.Reader.
func (u received) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, err
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return n, fault.Errorf(fault.TooLarge, "the archive is larger than %d bytes", large.Limit)
	}
	return n, fault.Errorf(fault.Invalid, "the archive was not received whole: %w", err)
}
