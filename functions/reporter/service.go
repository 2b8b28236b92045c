package reporter

import (
	"net/url"
	"os"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// webhookTimeout bounds one call of the webhook; it is less than sinkTimeout.
const webhookTimeout = 20 * time.Second

// Service makes the reporter as a process of its own. It logs every report, and
// reads where else they go:
//
//	FALCONER_REPORT_WEBHOOK_URL  an address that each event is posted to
//	FALCONER_REPORT_TOKEN        the bearer token to send there (or _FILE)
//	FALCONER_RESULTS_DIR         a directory for each scan's newest result
//	FALCONER_RESULTS_FORMATS     what it gets beside JSON: gitlab,sarif,osv,cyclonedx
//	GITLAB_URL                   the GitLab that gets commit statuses and, where
//	                             NATS_URL is set, discussions of merge requests
//	GITLAB_TOKEN                 its access token (or _FILE), scope api
//	FALCONER_RESULT_URL          the address that statuses lead to: <address>/<scan ID>
func Service(d serve.Deps) (function.Handler, error) {
	sinks := []Sink{NewLog(d.Log)}
	token, err := secret.Token(d.Env, "FALCONER_REPORT_TOKEN")
	if err != nil {
		return nil, fault.New("reporter", fault.Permanent, err)
	}
	if address := d.Env("FALCONER_REPORT_WEBHOOK_URL"); address != "" {
		if !isWeb(address) {
			return nil, fault.Errorf(fault.Permanent, "FALCONER_REPORT_WEBHOOK_URL is not an http or https address")
		}
		sinks = append(sinks, NewWebhook(address, token, serve.NewClient(webhookTimeout)))
	} else if token != "" {
		return nil, fault.Errorf(fault.Permanent, "FALCONER_REPORT_TOKEN is set, but not FALCONER_REPORT_WEBHOOK_URL: there is nobody to send it to")
	}
	if dir := d.Env("FALCONER_RESULTS_DIR"); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fault.New("FALCONER_RESULTS_DIR", fault.Permanent, err)
		}
		formats, err := format.List(d.Env("FALCONER_RESULTS_FORMATS"))
		if err != nil {
			return nil, fault.New("FALCONER_RESULTS_FORMATS", fault.Permanent, err)
		}
		sinks = append(sinks, NewDirectory(dir, formats...))
	}
	forge, err := gitlab.FromEnv(d.Env)
	if err != nil {
		return nil, err
	}
	link, err := ResultURL(d.Env)
	if err != nil {
		return nil, err
	}
	switch {
	case forge != nil && d.NATS != nil:
		known, err := results.Open(d.Context, d.NATS, results.Config{Replicas: d.Replicas, Guest: true})
		if err != nil {
			return nil, err
		}
		threads, err := NewDiscussions(d.Context, forge, d.NATS, known, link, time.Now, stream.Replicas(d.Replicas))
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, NewStatuses(forge, known, link), threads)
	case forge != nil:
		sinks = append(sinks, NewStatuses(forge, nil, link))
		d.Log.Warn("NATS_URL is not set: commit statuses only, no discussions of merge requests")
	}
	return New(d.Log, sinks...), nil
}

// ResultURL reads FALCONER_RESULT_URL, "" if it is not set.
func ResultURL(getenv func(string) string) (string, error) {
	address := getenv("FALCONER_RESULT_URL")
	if address != "" && !isWeb(address) {
		return "", fault.Errorf(fault.Permanent, "FALCONER_RESULT_URL is not an http or https address")
	}
	return address, nil
}

func isWeb(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
