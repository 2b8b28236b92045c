package reporter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var update = flag.Bool("update", false, "rewrite the text in testdata/*.txtar")

func result(revision int) finding.Result {
	r := finding.Result{
		SchemaVersion: finding.SchemaVersion, ScanID: scan.Key{Project: "local/a"}.ID(), Revision: revision, Project: "local/a",
		Root: ".", Manager: "npm", Lockfile: "package-lock.json", Rules: "r", Recipe: "1", Started: eventtest.At(), Finished: eventtest.At().Add(time.Second),
		Sandbox: finding.Sandbox{Kind: "gvisor", Reason: "completed"},
	}
	r.Verdict, r.Reasons = finding.Judge(nil, nil)
	return r
}

func made(t testing.TB, typ, id string, data any) ce.Event {
	t.Helper()
	e, err := event.New(typ, event.Source("correlator"), "s", id, eventtest.At(), data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEvents hands the events of each testdata/*.txtar to the function and
// compares what stands on the terminal with the text beside them.
func TestEvents(t *testing.T) {
	eventtest.Golden(t, *update, func(t *testing.T, a *txtar.Archive) []byte {
		var out bytes.Buffer
		f := New(eventtest.Log(t), NewTerminal(&out, report.Options{}))
		for _, in := range a.Files[:len(a.Files)-1] {
			var e ce.Event
			if err := json.Unmarshal(in.Data, &e); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Handle(t.Context(), e); err != nil {
				fmt.Fprintf(&out, "%s: %v (%v)\n", in.Name, err, fault.KindOf(err))
			}
		}
		return out.Bytes()
	})
}

// flaky is a sink that fails as told and counts.
type flaky struct {
	name  string
	mu    sync.Mutex
	fails []error
	got   int
}

func (f *flaky) Name() string { return f.name }

func (f *flaky) Deliver(context.Context, Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fails) > 0 {
		err := f.fails[0]
		f.fails = f.fails[1:]
		return err
	}
	f.got++
	return nil
}

func TestSinksFailIndependently(t *testing.T) {
	good := &flaky{name: "good"}
	bad := &flaky{name: "bad", fails: []error{errors.New("down"), errors.New("down")}}
	useless := &flaky{name: "useless", fails: []error{fault.Errorf(fault.Permanent, "gone")}}
	f := New(eventtest.Log(t), bad, good, useless)
	e := made(t, event.ScanFinished, "1", result(1))
	for range 2 {
		if _, err := f.Handle(t.Context(), e); !fault.Retryable(err) || !strings.Contains(err.Error(), "bad: down") {
			t.Errorf("Handle = %v, want the failure of bad", err)
		}
	}
	for range 2 {
		if _, err := f.Handle(t.Context(), e); err != nil {
			t.Error(err)
		}
	}
	if good.got != 1 || bad.got != 1 || useless.got != 0 {
		t.Errorf("delivered %d, %d, %d times; want 1, 1, 0", good.got, bad.got, useless.got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := &flaky{name: "s"}
	f := New(eventtest.Log(t), s)
	for i := range Remembered + 10 {
		if _, err := f.Handle(t.Context(), made(t, event.ScanFinished, fmt.Sprint(i), result(1))); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.had) != Remembered || len(f.order) != Remembered {
		t.Errorf("remembers %d events in an order of %d", len(f.had), len(f.order))
	}
}

func TestDirectoryKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	d := NewDirectory(dir)
	name := filepath.Join(dir, string(result(1).ScanID)+".json")
	for _, step := range []struct{ revision, want int }{{1, 1}, {3, 3}, {2, 3}, {3, 3}, {4, 4}} {
		r := result(step.revision)
		if err := d.Deliver(t.Context(), Report{Result: &r}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got finding.Result
		if err := json.Unmarshal(b, &got); err != nil || got.Revision != step.want {
			t.Errorf("after revision %d the file holds %d (%v), want %d", step.revision, got.Revision, err, step.want)
		}
	}
	// What a killed process left behind is in nobody's way.
	if err := os.WriteFile(name+".new", []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := result(5)
	if err := d.Deliver(t.Context(), Report{Result: &r}); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// TestDirectoryFormats: every file has the newest revision's content.
func TestDirectoryFormats(t *testing.T) {
	dir, id := t.TempDir(), string(result(1).ScanID)
	d := NewDirectory(dir, format.All()...)
	deliver := func(revision int, change func(*finding.Result)) {
		r := result(revision)
		change(&r)
		if err := d.Deliver(t.Context(), Report{Result: &r}); err != nil {
			t.Fatal(err)
		}
	}
	deliver(2, func(r *finding.Result) { r.Verdict, r.Incomplete = finding.Inconclusive, []string{"a gap"} })
	deliver(1, func(*finding.Result) {}) // late, and older
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1+len(format.All()) {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for _, f := range format.All() {
		if b, err := os.ReadFile(filepath.Join(dir, id+"."+f.Name+".json")); err != nil || !strings.Contains(string(b), "gap") {
			t.Errorf("%s: %v, %s", f.Name, err, b)
		}
	}
}

func TestDirectoryErrors(t *testing.T) {
	r := result(1)
	if err := NewDirectory(filepath.Join(t.TempDir(), "none")).Deliver(t.Context(), Report{Result: &r}); !fault.Retryable(err) {
		t.Errorf("no directory: %v, want transient", err)
	}
	r.ScanID = "../../etc/passwd"
	if err := NewDirectory(t.TempDir()).Deliver(t.Context(), Report{Result: &r}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a path for a scan ID: %v, want invalid", err)
	}
	if err := NewDirectory("/none").Deliver(t.Context(), Report{Rejected: &event.Rejected{}}); err != nil {
		t.Errorf("rejection: %v", err)
	}
}

func TestWebhook(t *testing.T) {
	e := made(t, event.ScanFinished, "event-1", result(1))
	for status, want := range map[int]string{200: "", 202: "", 302: "permanent", 400: "permanent", 401: "permanent", 404: "transient", 429: "transient", 500: "transient", 503: "transient"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				var got ce.Event
				if err := json.Unmarshal(b, &got); err != nil || got.ID() != "event-1" || r.Header.Get("Idempotency-Key") != "event-1" ||
					r.Header.Get("Content-Type") != "application/cloudevents+json" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("got %v with %v, %v", got, r.Header, err)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			}))
			defer s.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			err := NewWebhook(s.URL, "secret", client).Deliver(t.Context(), Report{Event: e})
			if got := kind(err); got != want {
				t.Errorf("Deliver = %v, want %q", err, want)
			}
		})
	}
}

func kind(err error) string {
	if err == nil {
		return ""
	}
	return fault.KindOf(err).String()
}

func TestWebhookIsDown(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	if err := NewWebhook(s.URL, "", http.DefaultClient).Deliver(t.Context(), Report{Event: made(t, event.ScanFinished, "1", result(1))}); !fault.Retryable(err) {
		t.Errorf("Deliver = %v, want transient", err)
	}
}
