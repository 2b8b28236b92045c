package conformance_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/trigger"
)

// Environment of the re-executed test binary.
const (
	envDir  = "CONFORMANCE_CHILD_DIR" // data directory
	envSink = "CONFORMANCE_CHILD_SINK"
)

// TestMain runs a broker instead of the tests if it finds itself to be the
// child of TestKill.
func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir, os.Getenv(envSink)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child serves a broker until it is killed. Trigger "a" replies with an event
// that trigger "b" gets; both tell the sink.
func child(dir, sink string) error {
	s, err := natsd.Start(natsd.Config{Dir: dir})
	if err != nil {
		return err
	}
	nc, err := s.Connect("child")
	if err != nil {
		return err
	}
	ctx := context.Background()
	b, err := broker.New(ctx, broker.Config{Conn: nc, Name: eventtest.Broker(), Triggers: killTopology(childTB{})})
	if err != nil {
		return err
	}
	to := &serve.Remote{URL: sink, Client: serve.NewClient(10 * time.Second)}
	b.Subscribe("a", to, broker.Concurrency(16))
	b.Subscribe("b", to, broker.Concurrency(16))
	b.Subscribe("dead", to)
	if err := b.Start(ctx); err != nil {
		return err
	}
	srv := httptest.NewServer(serve.Ingress(map[string]function.Emitter{"test/default": b}, serve.Options{}))
	fmt.Println(srv.URL + "/test/default")
	select {}
}

func killTopology(t testing.TB) *trigger.Set {
	return eventtest.Topology(t, map[string]string{
		"a": "  filters: [{exact: {type: a}}]",
		"b": "  filters: [{exact: {type: b}}]",
	})
}

// childTB lets a fixture fail outside of a test.
type childTB struct{ testing.TB }

func (childTB) Helper()           {}
func (childTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// tally is where effects show: which events were handled, how often.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
	slow time.Duration
}

func (s *tally) Handle(_ context.Context, e ce.Event) (*ce.Event, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	s.seen[e.Type()+" "+e.ID()]++
	s.mu.Unlock()
	if e.Type() != "a" {
		return nil, nil
	}
	reply := e.Clone()
	reply.SetType("b")
	reply.SetID(e.ID() + "+") // from the cause: the same however often
	return &reply, nil
}

func (s *tally) count() (distinct, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.seen {
		total += n
	}
	return len(s.seen), total
}

// process is a running child.
type process struct {
	cmd     *exec.Cmd
	ingress string
}

func spawn(t *testing.T, dir, sink string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envDir+"="+dir, envSink+"="+sink)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("child said nothing: %v", cmd.Wait())
	}
	return &process{cmd, lines.Text()}
}

// kill sends SIGKILL: no handler, no flush, no drain.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// TestKill kills the broker's process again and again in the middle of events.
// Whatever it acknowledged is handled, and so is the reply to it.
func TestKill(t *testing.T) {
	const events, kills = 400, 4
	effects := &tally{seen: map[string]int{}, slow: time.Millisecond}
	sink := httptest.NewServer(serve.Handler(effects, serve.Options{}))
	defer sink.Close()
	dir := t.TempDir()
	p := spawn(t, dir, sink.URL)
	defer func() { p.kill() }()
	client := &http.Client{Timeout: 5 * time.Second}
	for i := range events {
		if i%(events/kills) == events/kills/2 {
			p.kill()
			p = spawn(t, dir, sink.URL)
		}
		e := eventtest.Event("a", strconv.Itoa(i))
		if err := (&serve.Sink{URL: p.ingress, Client: client}).Emit(t.Context(), e); err != nil {
			t.Fatal(err) // nothing is killed while we wait for an answer
		}
	}
	p.kill() // with work in flight
	began := time.Now()
	p = spawn(t, dir, sink.URL)
	for distinct, _ := effects.count(); distinct < 2*events; distinct, _ = effects.count() {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d of %d effects", distinct, 2*events)
		}
		time.Sleep(10 * time.Millisecond)
	}
	recovered := time.Since(began)
	time.Sleep(eventtest.Quiet)
	distinct, total := effects.count()
	if distinct != 2*events {
		t.Errorf("%d effects, want %d", distinct, 2*events)
	}
	t.Logf("%d events and replies, %d deliveries, %d kills; the last backlog was done %s after the restart", distinct, total, kills+1, recovered)
}

// TestKillDuringALongHandler: what was in flight comes back promptly, not after
// an acknowledgement timeout.
func TestKillDuringALongHandler(t *testing.T) {
	began := make(chan struct{}, 10)
	release := make(chan struct{})
	sink := httptest.NewServer(serve.Handler(function.HandlerFunc(func(ctx context.Context, e ce.Event) (*ce.Event, error) {
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	}), serve.Options{}))
	defer sink.Close()
	dir := t.TempDir()
	p := spawn(t, dir, sink.URL)
	defer func() { p.kill() }()
	client := &http.Client{Timeout: 5 * time.Second}
	if err := (&serve.Sink{URL: p.ingress, Client: client}).Emit(t.Context(), eventtest.Event("b", "1")); err != nil {
		t.Fatal(err)
	}
	<-began
	time.Sleep(300 * time.Millisecond) // the consumer's state reaches the disk
	p.kill()
	p = spawn(t, dir, sink.URL)
	select {
	case <-began:
	case <-time.After(5 * time.Second): // less than the acknowledgement wait
		t.Error("the event was not delivered again within 5 s of the restart")
	}
	close(release)
}
