// Package gitlabhook turns GitLab's webhooks into events: a push becomes
// repo.push. Everything else is answered and counted, not acted on.
//
// Guarantees: nothing is read of a request that does not carry a configured
// token; a push is answered with a success only once its event is durable; the
// same delivery makes the same event ID, so that GitLab's retries are one push;
// what a payload claims is checked in form and bounded in size before it
// becomes part of an event.
package gitlabhook

import (
	"context"
	"encoding/hex"
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

// notPush is why most kinds of webhook are ignored.
const notPush = "not a push"

// Bounds on what one event carries of a push.
const (
	maxChanged      = 10_000    // paths
	maxChangedBytes = 256 << 10 // bytes of all paths together
	maxPath         = 1024      // bytes of a project path, ref or changed path
)

// Hook is the function: GitLabWebhook in, RepoPush out. It keeps no state.
type Hook struct{}

var _ function.Handler = Hook{}

// Handle answers a webhook with the event it stands for, or with nil where
// there is nothing to do. A payload that can't be read is fault.Invalid.
func (Hook) Handle(_ context.Context, e ce.Event) (*ce.Event, error) {
	reply, _, err := translate(e)
	return reply, err
}

// translate is Handle with the reason for which there is no event.
func translate(e ce.Event) (reply *ce.Event, ignored string, err error) {
	w, err := event.Decode[event.Webhook](e)
	if err != nil {
		return nil, "", err
	}
	if gitlab.EventType(w.Kind) != gitlab.EventTypePush {
		return nil, notPush, nil
	}
	parsed, err := gitlab.ParseWebhook(gitlab.EventTypePush, w.Body)
	if err != nil {
		return nil, "", fault.New("gitlabhook: parse push", fault.Invalid, err)
	}
	push := parsed.(*gitlab.PushEvent)
	switch {
	case zero(push.After):
		return nil, "the push deletes " + cut(push.Ref), nil
	case len(push.Commits) == 0 && push.TotalCommitsCount == 0:
		return nil, "the push brings no commits to " + cut(push.Ref), nil
	}
	data, err := dataOf(push, w)
	if err != nil {
		return nil, "", err
	}
	id := event.ID(event.RepoPush, w.Delivery, data.WebURL, strconv.FormatInt(data.ProjectID, 10), data.Ref, data.Before, data.After)
	out, err := event.New(event.RepoPush, event.Source(Name), data.Project, id, w.Received, data)
	if err != nil {
		return nil, "", err
	}
	event.Caused(e, &out)
	return &out, "", nil
}

// dataOf checks a push and takes from it what the event needs.
func dataOf(p *gitlab.PushEvent, w event.Webhook) (event.Push, error) {
	switch {
	case !commit(p.After):
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: after %.80q is not a commit", p.After)
	case p.Before != "" && !commit(p.Before):
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: before %.80q is not a commit", p.Before)
	case !fs.ValidPath(p.Project.PathWithNamespace) || !strings.Contains(p.Project.PathWithNamespace, "/") || !plain(p.Project.PathWithNamespace):
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not a project path", p.Project.PathWithNamespace)
	case !strings.HasPrefix(p.Ref, "refs/") || !plain(p.Ref):
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not a ref", p.Ref)
	case p.ProjectID <= 0:
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: project ID %d is not positive", p.ProjectID)
	case !plain(p.Project.WebURL):
		return event.Push{}, fault.Errorf(fault.Invalid, "gitlabhook: %.80q is not an address", p.Project.WebURL)
	}
	return event.Push{
		Provider: "gitlab", ProjectID: p.ProjectID, Project: p.Project.PathWithNamespace, WebURL: p.Project.WebURL,
		Ref: p.Ref, Before: p.Before, After: p.After, Changed: changed(p.Commits),
		Commits: int(max(p.TotalCommitsCount, int64(len(p.Commits)))), Received: w.Received,
	}, nil
}

// changed returns the paths that commits touched, sorted, each once, within
// bounds. GitLab names at most 20 commits, so the list is a hint at best.
func changed(commits []*gitlab.PushEventCommit) []string {
	seen, bytes := map[string]bool{}, 0
	for _, c := range commits {
		if c == nil {
			continue
		}
		for _, p := range slices.Concat(c.Added, c.Modified, c.Removed) {
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
