package jobs

import (
	"slices"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// patience bounds the deliveries of one event.
const patience = 6

// persist delivers events as a broker does, each until it is acknowledged. The
// runner that a fuse killed is replaced.
func (g *rig) persist(f *fuse, r *Runner, events ...ce.Event) *Runner {
	g.t.Helper()
	for _, e := range events {
		acknowledged := false
		for range patience {
			err := g.deliver(r, e)
			if f.blown && f.stays {
				r = g.runner()
			}
			if acknowledged = err == nil; acknowledged {
				break
			}
		}
		if !acknowledged {
			g.t.Fatalf("%s %s is never acknowledged", e.Type(), e.Subject())
		}
	}
	return r
}

// TestEveryCallCanFail plays one story once for each call that the runner makes
// to the outside and lets that call fail: before it took effect, after it, or
// with all later ones, as if the process were killed. The story always ends the
// same.
func TestEveryCallCanFail(t *testing.T) {
	for _, mode := range []struct {
		name         string
		after, stays bool
	}{{"before", false, false}, {"after", true, false}, {"killed", true, true}} { // killed before a call is killed after the one before
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, 1)
			for n := 1; ; n++ {
				g.anew(n)
				f := &fuse{left: n, after: mode.after, stays: mode.stays}
				if story(t, g, f); !f.blown {
					t.Logf("%d calls", n-1)
					if n < 50 {
						t.Errorf("the story makes only %d calls", n-1)
					}
					break
				}
				if t.Failed() {
					t.Fatalf("with call %d failing", n)
				}
			}
		})
	}
}

// story: one slot. a runs, b waits, c1 waits and is superseded by c2; a ends,
// b runs and is asked for once more by the correlator; b ends, c2 runs, is
// superseded by c3, which runs, and ends; b runs again, and ends.
func story(t *testing.T, g *rig, f *fuse) {
	r := New(f.fused(g.deps))
	step := func(events ...ce.Event) {
		r = g.persist(f, r, events...)
		if g.pass(Lease); f.blown {
			r = g.persist(f, r, g.ping()) // what it has left behind
		}
	}
	newer := func(i int) func(*scan.Request) {
		return func(q *scan.Request) { q.Pushed, q.Priority = g.now().Add(time.Duration(i)*time.Hour), 1 }
	}
	a, b := g.request("a", "1"), g.request("b", "1")
	step(g.asked(a))
	step(g.asked(b))
	c1 := g.request("c@main", "c1", newer(1))
	step(g.asked(c1))
	c2 := g.request("c@main", "c2", newer(2), func(q *scan.Request) { q.Priority = 0 })
	step(g.asked(c2))
	step(g.ended(a, 1))
	again := g.asked(b)
	again.SetSource(event.Source("correlator"))
	again.SetID("again")
	step(again)
	step(g.ended(b, 1))
	c3 := g.request("c@main", "c3", newer(3))
	step(g.asked(c3))
	step(g.ended(c3, 1))
	if a := g.queue(); a[b.ID] == running {
		step(g.ended(b, 2))
	}
	jobs := []string{string(a.ID), string(b.ID), string(b.ID) + "-2", string(c3.ID)}
	slices.Sort(jobs)
	if diff := cmp.Diff(jobs, g.jobs()); diff != "" {
		t.Errorf("Jobs:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"superseded by c2", "superseded by c3"}, g.reasons()); diff != "" {
		t.Errorf("rejections:\n%s", diff)
	}
	started := g.events(event.ScanStarted)
	if !slices.Contains(started, string(c2.ID)) { // it may have been superseded before it began
		started = append(started, string(c2.ID))
	}
	slices.Sort(started)
	want := ids(a, b, b, c2, c3)
	slices.Sort(want)
	if diff := cmp.Diff(want, started); diff != "" {
		t.Errorf("started:\n%s", diff)
	}
	if q := g.queue(); len(q) != 0 {
		t.Errorf("still in the queue: %v", q)
	}
	if run, err := g.deps.Runs.Get(t.Context(), c3.ID); err != nil || run.GivenUp != "" {
		t.Errorf("c3: %+v, %v", run, err)
	}
}

// Three runners, thirty scans, every event delivered to each runner at once:
// nothing starts twice, and never more at once than the limit.
func TestManyRunners(t *testing.T) {
	const limit, scans = 5, 30
	g := newRig(t, limit)
	runners := []*Runner{g.runner(), g.runner(), g.runner()}
	for _, r := range runners { // processes of their own share no lock
		r.d.Queue = &Queue{kv: g.deps.Queue.kv}
	}
	everywhere := func(events []ce.Event) {
		var wg sync.WaitGroup
		for _, e := range events {
			for _, r := range runners {
				wg.Go(func() {
					for range patience {
						if err := g.deliver(r, e); err == nil {
							return
						} else if t.Context().Err() != nil {
							return
						}
					}
					t.Errorf("%s %s is never acknowledged", e.Type(), e.Subject())
				})
			}
		}
		wg.Wait()
	}
	var asked []ce.Event
	byID := map[scan.ID]scan.Request{}
	for i := range scans {
		q := g.request(string(rune('a'+i%3)), string(rune('A'+i)))
		byID[q.ID] = q
		asked = append(asked, g.asked(q))
	}
	everywhere(asked)
	ended := map[scan.ID]bool{}
	for len(ended) < scans {
		var exits []ce.Event
		have := 0
		for id, p := range g.queue() {
			if p == claimed {
				t.Errorf("%s is claimed, and nobody is at it", id)
			}
			if p == running {
				have++
				exits = append(exits, g.ended(byID[id], 1))
				ended[id] = true
			}
		}
		if have > limit || have == 0 {
			t.Fatalf("%d scans have a slot, %d ended", have, len(ended))
		}
		everywhere(exits)
	}
	if q := g.queue(); len(q) != 0 {
		t.Errorf("still in the queue: %v", q)
	}
	if jobs := g.jobs(); len(jobs) != scans {
		t.Errorf("%d Jobs", len(jobs))
	}
	if started := g.events(event.ScanStarted); len(started) != scans {
		t.Errorf("%d started", len(started))
	}
}
