package correlator

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/results"
)

// TestAnyOrderEndsTheSame plays the events of one scan in random orders, with
// repetitions and restarts in between: the last result is always the same.
func TestAnyOrderEndsTheSame(t *testing.T) {
	r := newRig(t, alerts.Config{})
	rng := rand.New(rand.NewPCG(5, 6))
	priorities := []finding.Priority{finding.Notice, finding.Warning, finding.Critical}
	var want finding.Result
	var joined, duplicates int64
	for round := range 40 {
		id := scanID(round)
		var steps []func() error
		add := func(f func() error) { steps = append(steps, f) }
		add(func() error { return r.handle(event.ScanStarted, started(id, 1)) })
		add(func() error { return r.handle(event.ScanStarted, started(id, 2)) })
		add(func() error { return r.handle(event.SandboxExited, exited(id, 2, 6)) })
		if round%2 == 0 {
			add(func() error { return r.handle(event.SandboxExited, exited(id, 1, 6)) })
		}
		for n := range 6 {
			add(func() error {
				a := r.put(alert(id, n, priorities[n%3]))
				return r.handle(event.FalcoAlert, a)
			})
		}
		if round > 0 {
			for range rng.IntN(6) {
				steps = append(steps, steps[rng.IntN(len(steps))])
			}
			rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		}
		for _, step := range steps {
			if rng.IntN(5) == 0 {
				m := r.metrics()
				joined, duplicates = joined+m["alerts_joined"], duplicates+m["alerts_duplicate"]
				r.restart()
			}
			r.must(step())
		}
		got := r.result(id)
		got.Revision, got.ScanID, got.Counts.Duplicates = 0, "", 0
		if round == 0 {
			want = got
			if want.Verdict != finding.Malicious || want.Counts.Alerts != 6 || len(want.Findings) != 3 || want.Findings[0].Count != 2 {
				t.Fatalf("in order: %+v", want)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
	}
	m := r.metrics()
	if joined += m["alerts_joined"]; joined != 40*6 {
		t.Errorf("%d alerts joined, want %d", joined, 40*6)
	}
	for i, e := range r.sent {
		res, err := event.Decode[finding.Result](e)
		if want := map[bool]string{true: event.ScanFinished, false: event.ScanAmended}[res.Revision == 1]; err != nil || e.Type() != want {
			t.Errorf("event %d: %s with revision %d", i, e.Type(), res.Revision)
		}
	}
}

func TestLateAlertAmends(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 0)))
	if got := r.result(id); got.Verdict != finding.Clean || got.Revision != 1 {
		t.Fatalf("before: %s, revision %d", got.Verdict, got.Revision)
	}
	late := r.put(alert(id, 1, finding.Critical))
	for range 3 {
		r.must(r.handle(event.FalcoAlert, late))
	}
	got := r.result(id)
	if got.Verdict != finding.Malicious || got.Revision != 2 || len(got.Fetches) != 1 || got.Log == "" || len(got.InstallScripts) != 1 {
		t.Errorf("after: %+v", got)
	}
	// A repetition beyond JetStream's window changes nothing that matters.
	dup := alert(id, 1, finding.Critical)
	r.must(r.putAgain(dup))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 0)))
	if got := r.result(id); got.Revision != 2 {
		t.Errorf("a repetition made revision %d", got.Revision)
	}
	if f, a := len(r.events(event.ScanFinished)), len(r.events(event.ScanAmended)); f != 1 || a != 1 {
		t.Errorf("%d finished, %d amended", f, a)
	}
}

// TestAlertsStoredWhileOthersAreRead stores two alerts of two rules after the
// conclusion has counted what there is: it reads the second of them with what
// it had counted, and must not take the first for read as well.
func TestAlertsStoredWhileOthersAreRead(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Notice)))) // read already, the next is not
	r.put(alert(id, 2, finding.Warning))
	var late event.Alerts
	r.counted = func() {
		late = r.put(alert(id, 3, finding.Notice), alert(id, 4, finding.Warning))
	}
	r.must(r.handle(event.SandboxExited, exited(id, 1, 4)))
	r.must(r.handle(event.FalcoAlert, late))
	if got := r.result(id); got.Counts.Alerts != 4 {
		t.Errorf("%d alerts joined, want 4", got.Counts.Alerts)
	}
}

// putAgain stores an alert as if its first storing were long ago: under a
// message ID that JetStream does not know.
func (r *rig) putAgain(a falco.Alert) error {
	id, _ := a.Scan()
	totals, _, err := r.alerts.Totals(r.t.Context(), alerts.ScanSubject(id))
	if err != nil {
		return err
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	for subject := range totals {
		m := &nats.Msg{Subject: subject, Data: raw, Header: nats.Header{"Nats-Msg-Id": {a.Digest() + ".again"}}}
		if _, err := r.nc.RequestMsg(m, time.Second); err != nil {
			return err
		}
	}
	return nil
}

func TestUnknownScanIsReportedAndStillJoins(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Critical), alert(id, 2, finding.Critical))))
	r.must(r.c.Sweep(t.Context(), origin.Add(time.Minute)))
	if n := len(r.events(event.RuntimeAlert)); n != 0 {
		t.Fatalf("%d runtime alerts within the grace", n)
	}
	for range 2 {
		r.must(r.c.Sweep(t.Context(), origin.Add(time.Hour)))
	}
	if n := len(r.events(event.RuntimeAlert)); n != 2 {
		t.Fatalf("%d runtime alerts, want 2", n)
	}
	third := r.put(alert(id, 3, finding.Critical))
	for range 2 {
		r.must(r.handle(event.FalcoAlert, third))
	}
	if n := len(r.events(event.RuntimeAlert)); n != 3 {
		t.Fatalf("%d runtime alerts, want 3", n)
	}
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 3)))
	if got := r.result(id); got.Counts.Alerts != 3 || got.Verdict != finding.Malicious {
		t.Errorf("result %+v", got.Counts)
	}
	m := r.metrics()
	if m["alerts_unmatched"] != 3 || m["alerts_rejoined"] != 3 || m["alerts_joined"] != 3 || m["runtime_alerts"] != 3 {
		t.Errorf("metrics %v", m)
	}
	for _, n := range r.ids {
		if n != 1 {
			t.Errorf("an event was emitted %d times", n)
		}
	}
}

func TestAlertsWithoutScan(t *testing.T) {
	r := newRig(t, alerts.Config{})
	n := r.put(alert("", 1, finding.Error), alert("", 2, finding.Error), alert("", 3, finding.Notice))
	r.fails = 1
	if err := r.handle(event.FalcoAlert, n); !fault.Retryable(err) {
		t.Fatalf("broker away: %v", err)
	}
	for range 3 {
		r.must(r.handle(event.FalcoAlert, n))
	}
	list := r.events(event.RuntimeAlert)
	if len(list) != 3 {
		t.Fatalf("%d runtime alerts, want 3", len(list))
	}
	for _, e := range list {
		d, err := event.Decode[event.Runtime](e)
		if err != nil || d.AlertID != d.Alert.Digest() || e.Subject() != "web/front-1" {
			t.Errorf("runtime alert %v, %+v, %v", e.Subject(), d, err)
		}
	}
	if m := r.metrics(); m["alerts_unmatched"] != 3 {
		t.Errorf("metrics %v", m)
	}
	if totals, _, err := r.alerts.Totals(t.Context(), "alerts.other.>"); err != nil || len(totals) != 0 {
		t.Errorf("reported alerts stay stored: %v, %v", totals, err)
	}
}

func TestLostScan(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Warning))))
	r.must(r.c.Sweep(t.Context(), origin.Add(3*time.Minute)))
	if _, err := r.results.Get(t.Context(), id); !errors.Is(err, results.ErrNotFound) {
		t.Fatalf("before its time: %v", err)
	}
	r.fails = 1
	if err := r.c.Sweep(t.Context(), origin.Add(time.Hour)); !fault.Retryable(err) || err == nil {
		t.Fatalf("broker away: %v", err)
	}
	r.restart()
	r.must(r.c.Sweep(t.Context(), origin.Add(time.Hour)))
	got := r.result(id)
	if got.Verdict != finding.Inconclusive || !strings.Contains(got.Reasons[0], "sandbox lost") || got.Counts.Alerts != 1 || got.Sandbox.Reason != "lost" {
		t.Errorf("result %+v", got)
	}
	if n := len(r.events(event.ScanFinished)); n != 1 {
		t.Errorf("%d finished", n)
	}
	r.must(r.handle(event.SandboxExited, exited(id, 1, 1)))
	if got := r.result(id); got.Verdict != finding.Suspicious || got.Revision != 2 {
		t.Errorf("after it came back: %s, revision %d: %v", got.Verdict, got.Revision, got.Reasons)
	}
	if ids, err := r.states.Overdue(t.Context(), origin.Add(1000*time.Hour)); err != nil || len(ids) != 0 {
		t.Errorf("still overdue: %v, %v", ids, err)
	}
}

func TestExitWithoutStart(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.SandboxExited, exited(id, 1, 0)))
	if _, err := r.results.Get(t.Context(), id); !errors.Is(err, results.ErrNotFound) {
		t.Fatalf("did not wait for the start: %v", err)
	}
	r.must(r.c.Sweep(t.Context(), origin.Add(time.Minute)))
	if got := r.result(id); got.Verdict != finding.Clean || got.Project != "acme/app" {
		t.Errorf("result %+v", got)
	}
}

func TestRejectedScan(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Warning))))
	r.must(r.handleAt(origin.Add(time.Hour), event.ScanRejected, event.Rejected{ScanID: id, Reason: "no such package manager"}))
	late := r.put(alert(id, 2, finding.Warning))
	for range 2 {
		r.must(r.handle(event.FalcoAlert, late))
	}
	r.must(r.c.Sweep(t.Context(), origin.Add(100*time.Hour)))
	if len(r.sent) != 0 {
		t.Errorf("a rejected scan leads to %d events", len(r.sent))
	}
	if m := r.metrics(); m["alerts_refused"] != 2 {
		t.Errorf("metrics %v", m)
	}
	r.must(r.handle(event.ScanRejected, event.Rejected{Reason: "a push without a project"}))
}

// TestRejectedAndReplayed rejects a scan whose request became a dead letter, and
// starts it after all: its verdict counts, also where that is that it was lost.
func TestRejectedAndReplayed(t *testing.T) {
	for _, ends := range []bool{true, false} {
		r, id := newRig(t, alerts.Config{}), scanID(1)
		s := started(id, 1)
		r.must(r.handleAt(s.At.Add(-time.Minute), event.ScanRejected, event.Rejected{ScanID: id, Reason: "the registry is away"}))
		r.must(r.handle(event.ScanStarted, s))
		if ends {
			r.must(r.handle(event.SandboxExited, exited(id, 1, 0)))
		} else {
			r.must(r.c.Sweep(t.Context(), origin.Add(100*time.Hour)))
		}
		if n := len(r.events(event.ScanFinished)); n != 1 {
			t.Errorf("ends %t: %d results", ends, n)
		}
		if m := r.metrics(); (m["scans_lost"] == 0) != ends {
			t.Errorf("ends %t: metrics %v", ends, m)
		}
	}
}

// TestEmitterFails lets each emission fail once at every point: the result
// goes out exactly once all the same.
func TestEmitterFails(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Warning))))
	r.fails = 1
	if err := r.handle(event.SandboxExited, exited(id, 1, 1)); !fault.Retryable(err) || err == nil {
		t.Fatalf("got %v, want a transient error", err)
	}
	r.restart()
	r.must(r.handle(event.SandboxExited, exited(id, 1, 1)))
	r.fails = 1
	late := r.put(alert(id, 2, finding.Critical))
	if err := r.handle(event.FalcoAlert, late); err == nil {
		t.Fatal("an amendment that was not emitted is no error")
	}
	r.must(r.handle(event.FalcoAlert, late))
	if f, a := r.events(event.ScanFinished), r.events(event.ScanAmended); len(f) != 1 || len(a) != 1 {
		t.Fatalf("%d finished, %d amended", len(f), len(a))
	}
	if got := r.result(id); got.Revision != 2 || got.Counts.Alerts != 2 {
		t.Errorf("result %+v", got)
	}
	if m := r.metrics(); m["alerts_joined"] != 1 { // since the restart
		t.Errorf("metrics %v", m)
	}
}

// TestSweepRescuesAnUnfinishedEnd covers an exit that was saved, but whose
// result never came out because its event was given up.
func TestSweepRescuesAnUnfinishedEnd(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.fails = 1
	if err := r.handle(event.SandboxExited, exited(id, 1, 0)); err == nil {
		t.Fatal("no error")
	}
	r.restart()
	r.must(r.c.Sweep(t.Context(), origin.Add(time.Hour)))
	if n := len(r.events(event.ScanFinished)); n != 1 {
		t.Errorf("%d finished", n)
	}
}

// TestPingSweeps: a process that is at zero most of the time has no ticker that
// would tell it of scans that never end.
func TestPingSweeps(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.now = origin.Add(24 * time.Hour)
	r.must(r.handle(event.Ping, struct{}{}))
	if n := len(r.events(event.ScanFinished)); n != 1 {
		t.Errorf("%d finished", n)
	}
}

func TestOtherEventsOnlyWake(t *testing.T) {
	r := newRig(t, alerts.Config{})
	r.must(r.handle(event.RefAdded, struct{}{}))
	if n := len(r.sent); n != 0 {
		t.Errorf("%d events follow from a wake-up", n)
	}
}

func TestSecondAttemptDoesNotDouble(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 1, finding.Critical))))
	r.must(r.handle(event.ScanStarted, started(id, 2)))
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 100, finding.Critical))))
	r.must(r.handle(event.SandboxExited, exited(id, 2, 1)))
	got := r.result(id)
	if len(got.Findings) != 1 || got.Findings[0].Count != 2 || got.Revision != 1 || !got.Started.Equal(started(id, 2).At) {
		t.Errorf("result %+v", got)
	}
}

func TestStoredMoreThanRead(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.put(alert(id, 1, finding.Warning))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 5)))
	if got := r.result(id); got.Verdict != finding.Inconclusive || !strings.Contains(got.Incomplete[0], "stored 5 alerts, only 1") {
		t.Errorf("%s: %q", got.Verdict, got.Incomplete)
	}
}

func TestPurgedAlertsStayInTheResult(t *testing.T) {
	r, id := newRig(t, alerts.Config{}), scanID(1)
	r.must(r.handle(event.ScanStarted, started(id, 1)))
	r.put(alert(id, 1, finding.Warning), alert(id, 2, finding.Warning))
	r.must(r.handle(event.SandboxExited, exited(id, 1, 2)))
	r.must(r.alerts.Purge(t.Context(), id))
	r.restart()
	r.must(r.handle(event.FalcoAlert, r.put(alert(id, 3, finding.Critical))))
	got := r.result(id)
	if got.Counts.Alerts != 3 || len(got.Findings) != 2 || got.Findings[1].Count != 2 || got.Verdict != finding.Malicious {
		t.Errorf("result %+v", got)
	}
}
