package deadletter_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/falconer-sec/falconer/eventing"
	"github.com/falconer-sec/falconer/functions/correlator"
	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

func requested(t *testing.T) (scan.Request, ce.Event) {
	t.Helper()
	r := scan.Request{Project: "acme/app", Ref: "refs/heads/main", Commit: "c0ffee", Root: ".", Manager: "npm"}
	r.ID = r.Key().ID()
	e, err := event.New(event.ScanRequested, event.Source("planner"), string(r.ID), event.ID(event.ScanRequested, string(r.ID)), time.Now().UTC(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

// dead makes e a dead letter of a Trigger, or of a subscriber in a cluster.
func dead(e ce.Event, trigger, dest string) ce.Event {
	e = e.Clone()
	e.SetExtension(broker.ExtErrorDest, dest)
	e.SetExtension(broker.ExtErrorCode, 503)
	e.SetExtension(broker.ExtErrorData, "eyJlcnJvciI6InRoZSByZWdpc3RyeSBpcyBhd2F5In0=") // {"error":"the registry is away"}
	if trigger != "" {
		e.SetExtension(broker.ExtTrigger, trigger)
	}
	return e
}

func TestWhichLettersReject(t *testing.T) {
	_, asked := requested(t)
	started := asked.Clone()
	started.SetType(event.ScanStarted)
	nonsense := asked.Clone()
	nonsense.DataEncoded = []byte(`{"scan_id": "../x"}`)
	broken := asked.Clone()
	broken.DataEncoded = []byte(`[`)
	for name, tt := range map[string]struct {
		e             ce.Event
		trigger, dest string
		want          int
	}{
		"runner":               {asked, "runner", "http://runner.falconer.svc.cluster.local", 1},
		"runner in a cluster":  {asked, "", "http://runner.falconer.svc.cluster.local", 1},
		"runner without words": {asked, "", "http://broker-filter.knative-eventing.svc.cluster.local/triggers/falconer/runner/6f9619ff", 1},
		"api":                  {asked, "api", "http://api.falconer.svc.cluster.local", 0},
		"api in a cluster":     {asked, "", "http://api.falconer.svc.cluster.local", 0},
		"reporter's filter":    {asked, "", "http://broker-filter.knative-eventing.svc.cluster.local/triggers/falconer/reporter-wake/6f9619ff", 0},
		"no address":           {asked, "", "", 0},
		"hostile address":      {asked, "", "http://[::1/triggers/\x00/runner", 0},
		"another event":        {started, "runner", "", 0},
		"no scan":              {nonsense, "runner", "", 0},
		"no request":           {broken, "runner", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, rec := open(t), &eventtest.Recorder{}
			h := s.Rejecting(rec, eventtest.At)
			for range 2 { // a broker may deliver a letter again
				if _, err := h.Handle(t.Context(), dead(tt.e, tt.trigger, tt.dest)); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(list(t, s)); n != 1 {
				t.Errorf("%d letters", n)
			}
			ids := map[string]bool{}
			for _, id := range rec.IDs() {
				ids[id] = true
			}
			if len(ids) != tt.want {
				t.Errorf("emitted %v, want %d", rec.IDs(), tt.want)
			}
		})
	}
}

func TestTheRejectionSaysWhy(t *testing.T) {
	s, rec := open(t), &eventtest.Recorder{}
	req, e := requested(t)
	if _, err := s.Rejecting(rec, eventtest.At).Handle(t.Context(), dead(e, "runner", "")); err != nil {
		t.Fatal(err)
	}
	out := rec.Events()[0]
	got, err := event.Decode[event.Rejected](out)
	if err != nil {
		t.Fatal(err)
	}
	want := event.Refused(req, "runner", e.ID(), "could not be started: the registry is away; kept as dead letter "+list(t, s)[0].ID+", falconer replay sends it again")
	if got != want || out.Type() != event.ScanRejected || out.Subject() != string(req.ID) || !out.Time().Equal(eventtest.At()) {
		t.Errorf("got %+v\nwant %+v\nin %s", got, want, out)
	}
}

func TestARejectionThatIsNotTakenComesAgain(t *testing.T) {
	s := open(t)
	_, e := requested(t)
	full := function.EmitterFunc(func(context.Context, ce.Event) error { return errors.New("the broker is full") })
	if _, err := s.Rejecting(full, eventtest.At).Handle(t.Context(), dead(e, "runner", "")); !fault.Retryable(err) {
		t.Errorf("%v, want a transient error", err)
	}
	if n := len(list(t, s)); n != 1 {
		t.Errorf("%d letters", n)
	}
}

// TestAScanThatIsReplayedEndsInItsVerdict runs the topology's own Triggers: a
// runner fails until the request is a dead letter, whoever waits hears that;
// replayed, the scan ends in its result.
func TestAScanThatIsReplayedEndsInItsVerdict(t *testing.T) {
	ctx, nc, log := t.Context(), eventtest.NATS(t), eventtest.Log(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	topology, err := trigger.Load(eventing.FS)
	must(err)
	topology, err = topology.Without(eventing.ClusterOnly()...)
	must(err)
	name := trigger.Broker{Namespace: eventing.Namespace, Name: eventing.Broker}
	b, err := broker.New(ctx, broker.Config{Conn: nc, Name: name, Triggers: topology, Log: log})
	must(err)
	s, err := deadletter.New(ctx, nc)
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	scans, err := ledger.Open(ctx, js, ledger.Config{})
	must(err)
	stored, err := alerts.Open(ctx, nc, alerts.Config{Log: log})
	must(err)
	defer func() { must(stored.Close()) }()
	states, err := kv.Open(ctx, nc, kv.Config{})
	must(err)
	published, err := results.Open(ctx, nc, results.Config{})
	must(err)
	join, err := correlator.New(correlator.Deps{States: states, Alerts: stored, Results: published, Emit: b, Metrics: prometheus.NewRegistry(), Log: log})
	must(err)

	req, asked := requested(t)
	var away atomic.Bool
	away.Store(true)
	reported := &eventtest.Recorder{}
	for _, tr := range topology.For(name) { // those that are not of interest here
		b.Subscribe(tr.Subscriber.Name, &eventtest.Recorder{})
	}
	b.Subscribe("reporter", reported)
	b.Subscribe("runner", function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		if e.Type() != event.ScanRequested {
			return nil, nil
		}
		if away.Load() {
			return nil, fault.Errorf(fault.Transient, "the registry is away")
		}
		now := time.Now().UTC()
		started, err := event.New(event.ScanStarted, event.Source("runner"), string(req.ID), event.ID(event.ScanStarted, "1"), now, event.Started{Request: req, Attempt: 1, At: now})
		if err == nil {
			err = b.Emit(ctx, started)
		}
		if err != nil {
			return nil, err
		}
		exited, err := event.New(event.SandboxExited, event.Source("runner"), string(req.ID), event.ID(event.SandboxExited, "1"), now,
			event.Exited{Request: req, Attempt: 1, At: now, SensorEvents: 1, Sandbox: finding.Sandbox{Kind: "gvisor", Reason: "completed"}})
		return &exited, err
	}))
	b.Subscribe("api", scans)
	b.Subscribe("correlator", join)
	b.Subscribe("deadletter", s.Rejecting(b, time.Now))
	must(b.Start(ctx))
	defer func() { _ = b.Close(context.Background()) }()

	status := func(want ledger.Status) ledger.Record {
		t.Helper()
		var rec ledger.Record
		waitFor(t, func() bool {
			time.Sleep(5 * time.Millisecond) // leaves the processor to the others
			rec, err = scans.Get(ctx, req.ID)
			return err == nil && rec.Status == want
		})
		return rec
	}
	must(b.Emit(ctx, asked))
	if rec := status(ledger.Rejected); !strings.Contains(rec.Reason, "the registry is away; kept as dead letter") {
		t.Errorf("rejected because %q", rec.Reason)
	}
	reported.Expect(t, eventtest.Type(event.ScanRejected))
	waitFor(t, func() bool { // the correlator knows, too
		st, _, err := states.Load(ctx, req.ID)
		return err == nil && st.Rejected != ""
	})

	away.Store(false)
	must(s.Replay(ctx, list(t, s)[0].ID, b, b))
	if rec := status(ledger.Finished); rec.Reason != "" || rec.Verdict != finding.Clean {
		t.Errorf("after the replay: %+v", rec)
	}
	reported.Expect(t, eventtest.Type(event.ScanRejected), eventtest.Type(event.ScanFinished))
	if st, _, err := states.Load(ctx, req.ID); err != nil || st.Rejected != "" {
		t.Errorf("the correlator still has it rejected: %+v, %v", st, err)
	}
}
