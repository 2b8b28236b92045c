// Package gitlabhook turns GitLab's webhooks into events: a push or a tag
// becomes repo.push, a merge request with code to look at repo.merge_request.
// Everything else is answered and counted, not acted on.
//
// Guarantees: nothing happens for a request that does not prove itself as
// configured, and none of it is kept; a webhook is answered with a success only
// once its event is durable; the same delivery makes the same event ID, so that
// GitLab's retries are one event; what a payload claims is checked in form and
// bounded in size before it becomes part of an event.
package gitlabhook

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
)

// Name is the function's name in event sources, metrics and logs.
const Name = "gitlabhook"

// unhandled is why most kinds of webhook are ignored.
const unhandled = "not a push and not a merge request"

// maxPath bounds a project path, ref, address or changed path, in bytes.
const maxPath = 1024

// Hook is the function: GitLabWebhook in, RepoPush or RepoMergeRequest out. It
// keeps no state.
type Hook struct{}

var _ function.Handler = Hook{}

// Handle answers a webhook with the event it stands for, or with nil where
// there is nothing to do. A payload that can't be read is fault.Invalid.
func (Hook) Handle(_ context.Context, e ce.Event) (*ce.Event, error) {
	w, err := event.Decode[event.Webhook](e)
	if err != nil {
		return nil, err
	}
	reply, _, err := translate(e, w)
	return reply, err
}

// translate is Handle with the reason for which there is no event. by stands for
// the webhook as a cause.
func translate(by ce.Event, w event.Webhook) (reply *ce.Event, ignored string, err error) {
	kind := gitlab.EventType(w.Kind)
	object, ok := objects[kind]
	if !ok {
		return nil, unhandled, nil
	}
	var claimed struct {
		Kind string `json:"object_kind"`
	}
	if err := json.Unmarshal(w.Body, &claimed); err != nil {
		return nil, "", fault.New("gitlabhook: parse webhook", fault.Invalid, err)
	}
	if claimed.Kind != object {
		return nil, "", fault.Errorf(fault.Invalid, "gitlabhook: object_kind is %.40q, the header says %.40q", claimed.Kind, w.Kind)
	}
	parsed, err := gitlab.ParseWebhook(kind, w.Body)
	if err != nil {
		return nil, "", fault.New("gitlabhook: parse "+object, fault.Invalid, err)
	}
	var f fact
	switch p := parsed.(type) {
	case *gitlab.PushEvent:
		f, ignored, err = pushed(p, w)
	case *gitlab.TagEvent:
		f, ignored, err = tagged(p, w)
	case *gitlab.MergeEvent:
		f, ignored, err = requested(p, w)
	}
	if err != nil || ignored != "" {
		return nil, ignored, err
	}
	out, err := event.New(f.typ, event.Source(Name), f.project, event.ID(f.typ, append([]string{w.Delivery}, f.identity...)...), w.Received, f.data)
	if err != nil {
		return nil, "", err
	}
	event.Caused(by, &out)
	return &out, "", nil
}

// objects are the kinds of webhook that are acted on, with the object_kind that
// their payload must have.
var objects = map[gitlab.EventType]string{
	gitlab.EventTypePush: "push", gitlab.EventTypeTagPush: "tag_push", gitlab.EventTypeMergeRequest: "merge_request",
}

// fact is what a webhook comes to.
type fact struct {
	typ, project string
	identity     []string // what makes it the same beside the delivery's key
	data         any
}

// identity lists what tells one change of a project from another.
func identity(webURL string, id int64, more ...string) []string {
	return slices.Concat([]string{webURL, strconv.FormatInt(id, 10)}, more)
}

// checkProject checks what every payload says of its project.
func checkProject(id int64, path, webURL string) error {
	switch {
	case !fs.ValidPath(path) || !strings.Contains(path, "/") || !plain(path):
		return fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not a project path", path)
	case id <= 0:
		return fault.Errorf(fault.Invalid, "gitlabhook: project ID %d is not positive", id)
	case !plain(webURL):
		return fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not an address", webURL)
	}
	return nil
}

// checkCommit checks a commit's hash that has to be one.
func checkCommit(name, sha string) error {
	if !commit(sha) {
		return fault.Errorf(fault.Invalid, "gitlabhook: %s %.80q is not a commit", name, sha)
	}
	return nil
}

// commit reports whether s is a full commit hash, SHA-1 or SHA-256.
func commit(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && (len(s) == 40 || len(s) == 64) && strings.ToLower(s) == s
}

// zero reports whether s is the hash that stands for no commit.
func zero(s string) bool { return commit(s) && strings.Trim(s, "0") == "" }

// plain reports whether s fits into an event attribute.
func plain(s string) bool {
	return len(s) <= maxPath && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// cut quotes and bounds a name for an answer.
func cut(s string) string { return fmt.Sprintf("%.200q", s) }
