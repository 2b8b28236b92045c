package eventtest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// At is the time of fixture events.
func At() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Event returns a valid event with the given type and ID, source "/test" and
// small JSON data.
func Event(typ, id string) ce.Event {
	e := ce.New()
	e.SetType(typ)
	e.SetID(id)
	e.SetSource("/test")
	e.SetTime(At())
	if err := e.SetData(ce.ApplicationJSON, map[string]string{"id": id}); err != nil {
		panic(err) // a map of strings always marshals
	}
	return e
}

// NATS returns a connection to a JetStream server that lives in a temporary
// directory until the test ends.
func NATS(t testing.TB) *nats.Conn {
	t.Helper()
	return NATSIn(t, t.TempDir())
}

// NATSIn is NATS in a directory of the caller's.
func NATSIn(t testing.TB, dir string) *nats.Conn {
	t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: dir, Log: Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return nc
}

// Broker is the broker that Topology declares.
func Broker() trigger.Broker { return trigger.Broker{Namespace: "test", Name: "default"} }

// Topology loads Triggers given as lines of a Trigger's spec, by name. The
// subscriber is the function named like the Trigger unless spec says otherwise;
// the dead-letter sink is the function "dead", after 2 retries 10 ms apart.
func Topology(t testing.TB, triggers map[string]string) *trigger.Set {
	t.Helper()
	doc := `apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: test, annotations: {eventing.knative.dev/broker.class: MTChannelBasedBroker}}
spec: {delivery: {retry: 2, backoffPolicy: exponential, backoffDelay: PT0.01S, deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead}}}}
`
	for name, spec := range triggers {
		doc += fmt.Sprintf(`---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: %s, namespace: test}
spec:
  broker: default
  subscriber: {ref: {apiVersion: v1, kind: Service, name: %s}}
%s
`, name, name, spec)
	}
	set, err := trigger.Load(fstest.MapFS{"topology.yaml": {Data: []byte(doc)}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Log writes to the test's log, as long as the test runs.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{t.Context(), t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type logWriter struct {
	ctx context.Context // ends just before the test's cleanup
	t   testing.TB
}

func (w logWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() == nil {
		w.t.Logf("%s", p[:max(len(p)-1, 0)])
	}
	return len(p), nil
}
