package world

import (
	"context"
	"time"

	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
)

// send sends the webhook that tells of a push.
func (w *World) send(ctx context.Context, project *gitlabtest.Project, p Push) (Pushed, error) {
	hook := gitlabtest.Hook{URL: w.config.HookURL, Token: w.config.HookToken, Client: w.config.Client}
	delivery := project.Push(p.Ref, gitlabtest.Zero, p.Commit)
	out := Pushed{Commit: p.Commit, Sent: time.Now()}
	for {
		reply, err := hook.Send(ctx, delivery)
		out.Status, out.Answer, out.Answered = reply.Status, reply.Body, time.Now()
		if err != nil {
			out.Status, out.Answer = 0, err.Error()
		}
		if out.Status/100 == 2 || !p.Persist {
			return out, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
