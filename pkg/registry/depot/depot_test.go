package depot_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

func TestSourceIsHandedOutOnce(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	id := r.scan("acme/shop", lock)
	path := r.path(ticket.Source, id)
	status, body := r.get(path)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	dir := t.TempDir() + "/out"
	if _, err := source.Unpack(t.Context(), strings.NewReader(body), dir, source.Limits{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, _ := r.get(path); status != http.StatusForbidden {
			t.Errorf("the second time: %d", status)
		}
		r.kill() // nor does another process hand it out
	}
	if status, _ := r.get(r.path(ticket.NPM, id) + "/a"); status != http.StatusOK {
		t.Errorf("the registry of the scan: %d", status)
	}
}

func TestManyAtOnceGetOneSource(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	path := r.path(ticket.Source, r.scan("acme/shop", lock))
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			r.depot.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			mu.Lock()
			defer mu.Unlock()
			got[w.Code]++
		})
	}
	wg.Wait()
	if got[http.StatusOK] != 1 || got[http.StatusForbidden] != 7 {
		t.Errorf("%v", got)
	}
}

// broken is a client that goes away in the middle.
type broken struct{ *httptest.ResponseRecorder }

func (b broken) Write([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestBrokenTransferCanBeTriedAgain(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	path := r.path(ticket.Source, r.scan("acme/shop", lock))
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("a transfer that breaks off looks whole")
			}
		}()
		r.depot.ServeHTTP(broken{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, path, nil))
	}()
	if status, _ := r.get(path); status != http.StatusOK {
		t.Errorf("the second try: %d", status)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	id, other := r.scan("acme/shop", lock), r.scan("acme/other", lock)
	stale := r.scan("acme/stale", lock)
	run, err := r.runs.Get(t.Context(), stale)
	r.must(err)
	run.Attempt = 2
	r.must(r.runs.Put(t.Context(), run))
	left := r.scan("acme/left", lock)
	run, err = r.runs.Get(t.Context(), left)
	r.must(err)
	run.GivenUp = "a newer commit"
	r.must(r.runs.Put(t.Context(), run))
	unknown := scan.Key{Project: "unknown"}.ID()
	later := time.Unix(0, r.now.Load()).Add(time.Minute)
	forged := ticket.Key(strings.Repeat("x", ticket.MinKey))
	for name, c := range map[string]struct {
		path string
		want int
	}{
		"nothing":                    {"/", 400},
		"no ticket":                  {"/npm/left-pad", 400},
		"forged":                     {forged.Path(ticket.NPM, id, 1, later) + "/a", 403},
		"another scan's":             {strings.Replace(r.path(ticket.Source, id), string(id), string(other), 1), 403},
		"expired":                    {key.Path(ticket.NPM, id, 1, time.Unix(0, r.now.Load())) + "/a", 403},
		"source by a registry's":     {strings.Replace(r.path(ticket.NPM, id), "/npm/", "/source/", 1), 403},
		"log by a registry's":        {strings.Replace(r.path(ticket.NPM, id), "/npm/", "/fetches/", 1), 403},
		"attempt to come":            {key.Path(ticket.Source, id, 2, later), 403},
		"attempt that is over":       {key.Path(ticket.NPM, stale, 1, later) + "/a", 403},
		"source of one that is over": {key.Path(ticket.Source, stale, 1, later), 403},
		"given up":                   {key.Path(ticket.NPM, left, 1, later) + "/a", 403},
		"unknown scan":               {key.Path(ticket.Source, unknown, 1, later), 403},
		"source and more":            {r.path(ticket.Source, id) + "/more", 400},
		"source with a query":        {r.path(ticket.Source, id) + "?x", 400},
		"registry without a package": {r.path(ticket.NPM, id), 400},
		"registry's root":            {r.path(ticket.NPM, id) + "/", 403},
		"not a package":              {r.path(ticket.NPM, id) + "/a/b/c/d", 403},
	} {
		t.Run(name, func(t *testing.T) {
			if got, body := r.get(c.path); got != c.want {
				t.Errorf("%d %s, want %d", got, body, c.want)
			}
		})
	}
	res, err := http.Post(r.server.URL+r.path(ticket.Source, id), "text/plain", strings.NewReader("x"))
	r.must(err)
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

func TestRegistryServesWhatTheLockfilePins(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, a := r.publish("a")
	id := r.scan("acme/shop", lock)
	base := r.path(ticket.NPM, id)
	if status, doc := r.get(base + "/a"); status != 200 || !strings.Contains(doc, r.server.URL+base+"/a/-/a-1.0.0.tgz") {
		t.Errorf("the document does not lead back here: %d %s", status, doc)
	}
	if status, body := r.get(base + "/a/-/a-1.0.0.tgz"); status != 200 || body != string(a.Tarball) {
		t.Errorf("archive: %d, %d bytes", status, len(body))
	}
	if status, _ := r.get(base + "/@acme%2fnone"); status != 404 {
		t.Errorf("no such package: %d", status)
	}
	log := r.log(id)
	var names []string
	for _, f := range log.Fetches {
		names = append(names, f.Name+"@"+f.Version)
	}
	if d := cmp.Diff([]string{"a@", "a@1.0.0", "@acme/none@"}, names); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
	if len(log.Problems) != 0 || log.Unlisted != 0 {
		t.Errorf("%+v", log)
	}
}

// TestOtherContentThanPinned: the registry has been replaced by a hostile one.
func TestOtherContentThanPinned(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, a := r.publish("a")
	id := r.scan("acme/shop", strings.Replace(lock, a.Integrity, "sha512-"+strings.Repeat("A", 86)+"==", 1))
	if status, _ := r.get(r.path(ticket.NPM, id) + "/a/-/a-1.0.0.tgz"); status != http.StatusForbidden {
		t.Errorf("%d", status)
	}
	if log := r.log(id); len(log.Problems) != 1 || !strings.Contains(log.Problems[0], "integrity") {
		t.Errorf("problems %q", log.Problems)
	}
}

func TestLogSurvivesAnOrderlyRestart(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	id := r.scan("acme/shop", lock)
	for range 2 {
		r.get(r.path(ticket.NPM, id) + "/a")
		r.stop()
		r.start()
	}
	log := r.log(id)
	if len(log.Fetches) != 2 || len(log.Problems) != 0 {
		t.Errorf("%+v", log)
	}
}

// TestKilledInTheMiddle: what was fetched just before is lost, and both the log
// of a scan that goes on and of one that does not say so.
func TestKilledInTheMiddle(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	goesOn, ends := r.scan("acme/shop", lock), r.scan("acme/other", lock)
	for _, id := range []scan.ID{goesOn, ends} {
		if status, _ := r.get(r.path(ticket.NPM, id) + "/a"); status != 200 {
			t.Fatal(status)
		}
		r.log(id) // stored
	}
	r.logs.open.Store(true) // what comes now is not stored any more
	for _, id := range []scan.ID{goesOn, ends} {
		if status, _ := r.get(r.path(ticket.NPM, id) + "/none"); status != 404 {
			t.Fatal(status)
		}
	}
	r.kill()
	r.get(r.path(ticket.NPM, goesOn) + "/a")
	for name, id := range map[string]scan.ID{"goes on": goesOn, "ends": ends} {
		for range 2 {
			if log := r.log(id); !slices.Contains(log.Problems, fetches.Interrupted) {
				t.Errorf("%s: %+v", name, log)
			}
		}
	}
	if log := r.log(goesOn); log.Fetches[len(log.Fetches)-1].Name != "a" {
		t.Errorf("what came after the restart is not listed: %+v", log)
	}
}

func TestNothingIsServedUnlogged(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	id := r.scan("acme/shop", lock)
	r.logs.broken.Store(true)
	if status, _ := r.get(r.path(ticket.NPM, id) + "/a"); status != http.StatusServiceUnavailable {
		t.Errorf("served although it could not be logged: %d", status)
	}
	r.logs.broken.Store(false)
	if status, _ := r.get(r.path(ticket.NPM, id) + "/a"); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestAScanHasItsPart(t *testing.T) {
	r := newRig(t, depot.Limits{ScanRequests: 3, ScanBytes: 1 << 20})
	lock, _ := r.publish("a")
	greedy, modest := r.scan("acme/greedy", lock), r.scan("acme/modest", lock)
	for range 3 {
		if status, _ := r.get(r.path(ticket.NPM, greedy) + "/a"); status != 200 {
			t.Fatal(status)
		}
	}
	r.stop() // the count goes on in the next process
	r.start()
	for range 2 {
		if status, _ := r.get(r.path(ticket.NPM, greedy) + "/a"); status != http.StatusTooManyRequests {
			t.Errorf("%d", status)
		}
	}
	if log := r.log(greedy); len(log.Fetches) != 3 || len(log.Problems) != 1 || !strings.Contains(log.Problems[0], "more than 3 registry requests") {
		t.Errorf("%+v", log)
	}
	if status, _ := r.get(r.path(ticket.NPM, modest) + "/a"); status != 200 {
		t.Errorf("another scan: %d", status)
	}
}

func TestBytesAreLimited(t *testing.T) {
	r := newRig(t, depot.Limits{ScanBytes: 100})
	lock, a := r.publish("a")
	id := r.scan("acme/shop", lock)
	if status, body := r.get(r.path(ticket.NPM, id) + "/a/-/a-1.0.0.tgz"); status != 200 || len(body) != len(a.Tarball) {
		t.Fatalf("%d, %d bytes", status, len(body))
	}
	if status, _ := r.get(r.path(ticket.NPM, id) + "/a"); status != http.StatusTooManyRequests {
		t.Errorf("%d", status)
	}
}

func TestScansMakeWay(t *testing.T) {
	r := newRig(t, depot.Limits{Sessions: 2})
	lock, _ := r.publish("a")
	for _, name := range []string{"one", "two", "three", "one", "four"} {
		id := r.scan(name, lock)
		if status, body := r.get(r.path(ticket.NPM, id) + "/a"); status != 200 {
			t.Fatalf("%s: %d %s", name, status, body)
		}
		if log := r.log(id); len(log.Problems) != 0 { // told, so stored: it may make way
			t.Errorf("%s: %+v", name, log)
		}
	}
	id := r.scan("one", lock)
	want := []finding.Fetch{{Name: "a"}, {Name: "a"}}
	got := r.log(id).Fetches
	for i := range got {
		got[i].Size = 0
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("log of one that made way and came back (-want +got):\n%s", d)
	}
}

func TestSourceOfAnotherDigest(t *testing.T) {
	r := newRig(t, depot.Limits{})
	lock, _ := r.publish("a")
	id := r.scan("acme/shop", lock)
	run, err := r.runs.Get(t.Context(), id)
	r.must(err)
	run.Request.Digest = "sha256:0"
	r.must(r.runs.Put(t.Context(), runs.Run{Request: run.Request, Attempt: 1}))
	if status, body := r.get(r.path(ticket.NPM, id) + "/a"); status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", status, body)
	}
}

func TestClientErrors(t *testing.T) {
	r := newRig(t, depot.Limits{})
	id := scan.Key{Project: "p"}.ID()
	for name, c := range map[string]struct {
		url, kind string
		key       ticket.Key
	}{
		"another key":    {r.server.URL, "permanent", ticket.Key(strings.Repeat("x", ticket.MinKey))},
		"nobody answers": {"http://127.0.0.1:1", "transient", key},
	} {
		t.Run(name, func(t *testing.T) {
			client := fetches.Client{URL: c.url, Key: c.key, HTTP: http.DefaultClient}
			_, err := client.Fetches(t.Context(), id, 1)
			if err == nil || kindOf(err) != c.kind || strings.Contains(err.Error(), string(id)) {
				t.Errorf("%v (%s)", err, kindOf(err))
			}
		})
	}
}
