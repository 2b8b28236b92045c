package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// ProbeRule is the rule of the alerts that a world makes up. No rule set has
// it, so that its alerts are told from real ones.
const ProbeRule = "Falconer cluster probe"

// Alerts asks for alerts of one pod, numbered from First.
type Alerts struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	First     int    `json:"first"`
	Count     int    `json:"count"`
	// Webhook sends them as Falcosidekick's webhook output does, with a bearer
	// token; otherwise they go as its CloudEvents output sends them.
	Webhook bool `json:"webhook,omitempty"`
	// Twice sends each alert a second time, as another forwarder would: with
	// another uuid and another event ID.
	Twice bool `json:"twice,omitempty"`
	// Persist sends an alert again while the gate is away (no answer, or 5xx).
	// Falcosidekick does not.
	Persist bool `json:"persist,omitempty"`
}

// Sent says what became of alerts.
type Sent struct {
	Taken   int `json:"taken"`   // answered with 2xx
	Refused int `json:"refused"` // answered otherwise, or not at all
	Last    int `json:"last_status,omitempty"`
}

// Sidekick sends alerts as Falcosidekick does: one a request, several at a time.
type Sidekick struct {
	URL    string // of the gate
	Token  string // bearer token of the webhook form
	Client *http.Client
}

// parallel is how many alerts are on their way at once.
const parallel = 16

// Send sends the alerts and counts the answers. It fails only if ctx ends.
func (s *Sidekick) Send(ctx context.Context, a Alerts) (Sent, error) {
	outcomes := make(chan int, a.Count*2)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	times := 1
	if a.Twice {
		times = 2
	}
	for n := a.First; n < a.First+a.Count; n++ {
		for range times {
			g.Go(func() error {
				status, err := s.persist(ctx, a, n)
				outcomes <- status
				return err
			})
		}
	}
	err := g.Wait()
	close(outcomes)
	var out Sent
	for status := range outcomes {
		if status/100 == 2 {
			out.Taken++
		} else {
			out.Refused++
			out.Last = status
		}
	}
	return out, err
}

// persist sends one alert, more than once only if asked to.
func (s *Sidekick) persist(ctx context.Context, a Alerts, n int) (status int, err error) {
	for {
		status = s.send(ctx, a, n)
		if away := status == 0 || status >= 500; !away || !a.Persist {
			return status, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// send posts one alert and returns the answer's status, 0 for none.
func (s *Sidekick) send(ctx context.Context, a Alerts, n int) int {
	body, at := alert(a, n)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Webhook {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	} else {
		for name, value := range map[string]string{
			"Ce-Id": uuid.NewString(), "Ce-Specversion": "1.0", "Ce-Type": "falco.rule.output.v1", "Ce-Source": "https://falco.org",
			"Ce-Time": at.Format(time.RFC3339Nano), "Ce-Rule": ProbeRule, "Ce-Priority": "Warning", "Ce-Eventsource": "syscall", "Ce-Hostname": "node",
		} {
			req.Header.Set(name, value)
		}
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the connection is used again
	return resp.StatusCode
}

// alert is alert number n of a pod. But for its uuid it is the same each time.
func alert(a Alerts, n int) ([]byte, time.Time) {
	at := time.Date(2026, 1, 2, 3, 4, 5, n, time.UTC)
	body, err := json.Marshal(map[string]any{
		"uuid": uuid.NewString(), "hostname": "node", "source": "syscall", "rule": ProbeRule, "priority": "Warning",
		"time": at, "tags": []string{"falconer_cluster_probe"},
		"output": fmt.Sprintf("%s: Warning Probe number %d (pod=%s)", at.Format("15:04:05.000000000"), n, a.Pod),
		"output_fields": map[string]any{
			"k8s.ns.name": a.Namespace, "k8s.pod.name": a.Pod, "container.id": nil,
			"evt.time": at.UnixNano(), "evt.num": n, "evt.type": "openat", "proc.cmdline": "node probe.js", "proc.name": "node",
		},
	})
	if err != nil {
		panic(err) // a map of plain values can always be encoded
	}
	return body, at
}
