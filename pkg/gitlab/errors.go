package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// ErrRefused is in the chain of errors (fault.Permanent) that mean that the
// token is not accepted or may not do this: nothing is wrong with the request,
// and it works once somebody has put the token right.
var ErrRefused = errors.New("GitLab refuses the token")

// ErrNotFound is in the chain of errors (fault.Permanent) for a project, commit
// or file that does not exist, or that the token may not see: GitLab makes no
// difference.
var ErrNotFound = errors.New("GitLab does not know it, or the token may not see it")

// classify gives an error of a call its Kind, and says what to do.
func classify(op string, resp *gitlab.Response, err error) error {
	if err == nil {
		return nil
	}
	op = "gitlab: " + op
	var own *fault.Error
	if errors.As(err, &own) {
		return fault.New(op, own.Kind, err)
	}
	if resp == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.New(op, fault.Transient, err)
	}
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		return fault.New(op, fault.Permanent, fmt.Errorf("%w (401): it is wrong, expired or revoked; put a valid one into %s", ErrRefused, TokenVariable))
	case code == http.StatusForbidden:
		return fault.New(op, fault.Permanent, fmt.Errorf("%w (403%s): it needs the scope \"api\" and the role Developer in the project", ErrRefused, said(err)))
	case code == http.StatusNotFound:
		return fault.New(op, fault.Permanent, fmt.Errorf("%w (404): check that the project and the commit exist and that the token's user is a member", ErrNotFound))
	case code == http.StatusTooManyRequests:
		return fault.New(op, fault.Transient, fmt.Errorf("GitLab limits the rate of requests (429), Retry-After %.20q", resp.Header.Get("Retry-After")))
	case code == http.StatusRequestTimeout || code == http.StatusConflict || code >= 500:
		return fault.New(op, fault.Transient, fmt.Errorf("GitLab answered %d%s", code, said(err)))
	case code >= 300:
		return fault.New(op, fault.Permanent, fmt.Errorf("GitLab answered %d%s", code, said(err)))
	}
	return fault.New(op, fault.Transient, err) // an answer that began well and broke off
}

// said returns GitLab's message as part of a line, ": ..." or "".
func said(err error) string {
	var answer *gitlab.ErrorResponse
	if !errors.As(err, &answer) || answer.Message == "" {
		return ""
	}
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(answer.Message, "?"))
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "..."
	}
	return ": " + line
}
