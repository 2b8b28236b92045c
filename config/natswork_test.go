package config_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/answers"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/heads"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// scanID is the scan that the tests of the store's users are about.
const scanID = scan.ID("2f1b7a52-93a5-5c41-8f1e-0d3b5ad0c001")

// otherScan is one whose alerts nobody counts.
const otherScan = scan.ID("2f1b7a52-93a5-5c41-8f1e-0d3b5ad0c002")

// alert is what a user stores; each another, as one that another user stored
// before would be taken for a repetition.
func alert(user string) falco.Alert {
	return falco.Alert{Rule: "a rule", Priority: finding.Warning, Time: time.Unix(1_700_000_000, 0), Output: "something of " + user}
}

// announce runs a notifier until it has told of an alert.
func announce(ctx context.Context, s *alerts.Store) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	told := errors.New("nothing was announced")
	n := alerts.NewNotifier(s, function.EmitterFunc(func(context.Context, ce.Event) error {
		told = nil
		stop()
		return nil
	}), time.Now, slog.New(slog.DiscardHandler))
	return errors.Join(n.Run(ctx), told)
}

// readAlerts reads what a correlator reads, and removes it.
func readAlerts(ctx context.Context, s *alerts.Store) error {
	outcomes, err := s.Put(ctx, []alerts.Item{{Alert: alert("correlator"), ScanID: scanID}})
	if err != nil {
		return err
	}
	totals, _, err := s.Totals(ctx, alerts.ScanSubject(scanID))
	if err != nil {
		return err
	}
	found := 0
	count := func(e alerts.Entry) error { found++; return e.Err }
	for subject := range totals {
		if err := s.Read(ctx, subject, 1, count); err != nil {
			return err
		}
	}
	if err := s.Get(ctx, []uint64{outcomes[0].Seq}, count); err != nil {
		return err
	}
	if found != 2 {
		return fmt.Errorf("an alert was found %d times, not 2", found)
	}
	if _, err := s.Capped(ctx, scanID); err != nil {
		return err
	}
	return s.Purge(ctx, scanID)
}

// correlateStates saves a state, finds it due, and settles it.
func correlateStates(ctx context.Context, s *kv.Store) error {
	state, version, err := s.Load(ctx, scanID)
	if err != nil {
		return err
	}
	if err := s.Save(ctx, state, version, time.Unix(1, 0)); err != nil {
		return err
	}
	due, err := s.Overdue(ctx, time.Unix(2, 0))
	if err != nil || len(due) != 1 {
		return fmt.Errorf("%d scans are due, not 1: %w", len(due), err)
	}
	state, version, err = s.Load(ctx, scanID)
	if err != nil {
		return err
	}
	return errors.Join(s.Save(ctx, state, version, time.Time{}), s.Report(ctx, "digest"))
}

func publish(ctx context.Context, s *results.Store) error {
	if err := s.Put(ctx, finding.Result{ScanID: scanID, Revision: 1, Verdict: finding.Clean}); err != nil {
		return err
	}
	_, err := s.Get(ctx, scanID)
	return errors.Join(err, s.List(ctx, func(finding.Result) bool { return true }))
}

func letter(ctx context.Context, s *deadletter.Store) error {
	_, err := s.Handle(ctx, eventtest.Event("dev.falconer.test", "one"))
	return err
}

// discard lists the letters, and discards one of its own.
func discard(ctx context.Context, s *deadletter.Store) error {
	if err := letter(ctx, s); err != nil {
		return err
	}
	var id string
	for l, err := range s.List(ctx) {
		if err != nil {
			return err
		}
		id = l.ID
	}
	return s.Discard(ctx, id)
}

// branches does with its memories of branches and contents what the planner does.
func branches(ctx context.Context, nc *nats.Conn) error {
	same, err := answers.Open(ctx, nc)
	if err != nil {
		return err
	}
	if err := same.Remember(ctx, scanID, scanID); err != nil {
		return err
	}
	if id, err := same.Find(ctx, scanID); err != nil || id != scanID {
		return fmt.Errorf("the scan of a content is %q: %w", id, err)
	}
	s, err := heads.Open(ctx, nc)
	if err != nil {
		return err
	}
	if err := s.Note(ctx, heads.Head{Project: "a/b", Ref: "refs/heads/main", SHA: "x"}); err != nil {
		return err
	}
	if err := s.Ask(ctx, "a/b", "refs/heads/main", "y", time.Unix(1, 0)); err != nil {
		return err
	}
	of, err := s.Of(ctx, "a/b")
	if err != nil || len(of) != 1 {
		return fmt.Errorf("%d branches are known, not 1: %w", len(of), err)
	}
	if list, err := s.Projects(ctx); err != nil || len(list) != 1 {
		return fmt.Errorf("%d projects are known, not 1: %w", len(list), err)
	}
	return s.Forget(ctx, "a/b", "refs/heads/main")
}
