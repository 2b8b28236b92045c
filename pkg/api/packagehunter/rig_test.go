package packagehunter_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/users"
)

// rig is a server whose scans end as a test says.
type rig struct {
	t      *testing.T
	server http.Handler
	config packagehunter.Config
	id     scan.ID // the last that an answer named

	mu      sync.Mutex
	now     time.Time
	records map[scan.ID]ledger.Record
	results map[scan.ID]finding.Result
	events  []ce.Event
	broken  error // of the broker
	kept    int
}

var (
	_ api.Scans    = (*rig)(nil)
	_ api.Results  = stored{}
	_ source.Store = store{}
)

func newRig(t *testing.T) *rig {
	t.Helper()
	var list strings.Builder
	for user, password := range map[string]string{"ci": "correct-horse", "dev": "battery-staple"} {
		line, err := users.Hash(user, password, 1000, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		list.WriteString(line + "\n")
	}
	set, err := users.Parse(list.String())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), records: map[scan.ID]ledger.Record{}, results: map[scan.ID]finding.Result{}}
	r.config = packagehunter.Config{
		Planner:  planner.Planner{Store: store{r}, Managers: []ecosystem.Manager{npm.Manager{}}, Rules: "rules-1", TempDir: t.TempDir()},
		Managers: []string{"npm"}, Scans: r, Results: stored{r}, Users: set, Log: slog.New(slog.DiscardHandler), MaxArchive: 1 << 20,
		Now: func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now },
		Emitter: function.EmitterFunc(func(_ context.Context, e ce.Event) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.broken == nil {
				r.events = append(r.events, e)
			}
			return r.broken
		}),
	}
	r.server = packagehunter.New(r.config)
	return r
}

// learn takes the scan's ID from an answer.
func (r *rig) learn(body string) {
	var a packagehunter.Answer
	if json.Unmarshal([]byte(body), &a) == nil && a.Status == packagehunter.StatusOK {
		r.id = a.ID
	}
}

// happens makes the server's side of a recorded conversation.
func (r *rig) happens(words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.records[r.id]
	result := finding.Result{ScanID: r.id, Revision: 1, Finished: r.now, Findings: []finding.Finding{}}
	switch words {
	case "the scan starts":
		rec.Status = ledger.Running
		r.records[r.id] = rec
		return
	case "the scan is refused":
		rec.Status, rec.Reason = ledger.Rejected, "the lockfile \x1b[31mcan't be read"
		r.records[r.id] = rec
		return
	case "the broker fails":
		r.broken = fault.Errorf(fault.Transient, "secret inner life")
		return
	case "a minute passes":
		r.now = r.now.Add(time.Minute)
		return
	case "the result expires":
		delete(r.results, r.id)
		return
	case "nothing is found":
		result.Verdict = finding.Clean
	case "not all was seen":
		result.Verdict, result.Incomplete = finding.Inconclusive, []string{"the sandbox was killed"}
	case "something bad is found":
		result.Verdict = finding.Malicious
		result.Findings = []finding.Finding{{
			Rule: "Credential file read", Priority: finding.Critical, Behaviours: []string{"credential-read"}, Techniques: []string{"T1552.001"},
			Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1", Name: "left-pat", Version: "1.3.1", Path: "node_modules/left-pat"}, Phase: "install", Script: "postinstall",
			Summary: "a script read /root/.ssh/id_rsa", Count: 7,
			Evidence: []finding.Evidence{{Time: r.now, ProcessChain: []string{"npm ci", "node collect.js"}, CommandLine: "node collect.js", Syscall: "openat",
				File: "/root/.ssh/id_rsa", Output: "12:00:00.000000000: Critical a script read /root/.ssh/id_rsa", AlertID: "x"}},
		}}
	default:
		r.t.Fatalf("nobody knows how %q happens", words)
	}
	rec.Status, rec.Verdict = ledger.Finished, result.Verdict
	r.records[r.id], r.results[r.id] = rec, result
}

// fixture is a body by its name.
func (r *rig) fixture(name string) []byte {
	pkg := func(dir string) map[string]string {
		return map[string]string{dir + "package.json": `{"name":"app","version":"1.0.0"}`,
			dir + "package-lock.json": `{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0"}}}`}
	}
	join := func(all ...map[string]string) map[string]string {
		out := map[string]string{}
		for _, m := range all {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	switch name {
	case "project":
		return r.tgz(pkg("app/"))
	case "project-and-more":
		return r.tgz(join(pkg("app/"), pkg("app/web/")))
	case "below":
		return r.tgz(join(pkg("app/web/"), map[string]string{"app/README": "x"}))
	case "yarn":
		return r.tgz(map[string]string{"app/package.json": `{"dependencies":{"a":"1"}}`, "app/yarn.lock": "# yarn lockfile v1\n"})
	case "two-below":
		return r.tgz(join(pkg("app/web/"), pkg("app/api/")))
	case "broken-above":
		return r.tgz(join(pkg("app/web/"), map[string]string{"app/package.json": "{}", "app/package-lock.json": "{"}))
	case "broken-below":
		return r.tgz(join(pkg("app/"), map[string]string{"app/web/package.json": "{}", "app/web/package-lock.json": "{"}))
	case "no-lockfile":
		return r.tgz(map[string]string{"app/package.json": "{}"})
	case "climbs":
		return r.tgz(map[string]string{"app/../../etc/passwd": "x"})
	case "text":
		return []byte("this is no archive")
	case "large":
		return bytes.Repeat([]byte("x"), 2<<20)
	}
	r.t.Fatalf("no fixture %q", name)
	return nil
}

func (r *rig) tgz(files map[string]string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatPAX}); err != nil {
			r.t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

// Request implements api.Scans.
func (r *rig) Request(_ context.Context, q scan.Request, _ time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.records[q.ID]; !ok {
		r.records[q.ID] = ledger.Record{ID: q.ID, Status: ledger.Pending, Project: q.Project, Root: q.Root, Manager: q.Manager}
	}
	return nil
}

// Get implements api.Scans.
func (r *rig) Get(_ context.Context, id scan.ID) (ledger.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.records[id]
	if !ok {
		return rec, fault.New("", fault.Permanent, ledger.ErrUnknown)
	}
	return rec, nil
}

// List implements api.Scans.
func (*rig) List(context.Context, uint64, int) ([]ledger.Record, uint64, error) { return nil, 0, nil }

// stored are a rig's results.
type stored struct{ *rig }

// Get implements api.Results.
func (s stored) Get(_ context.Context, id scan.ID) (finding.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.results[id]
	if !ok {
		return r, fault.New("", fault.Permanent, results.ErrNotFound)
	}
	return r, nil
}

// store takes archives and forgets them.
type store struct{ *rig }

// Put implements source.Store.
func (s store) Put(_ context.Context, from io.Reader) (scan.Source, error) {
	n, err := io.Copy(io.Discard, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept++
	return scan.Source{Object: fmt.Sprint("object-", s.kept), Digest: "sha256:d1", Size: n}, err
}

// Get implements source.Store.
func (store) Get(context.Context, string) (io.ReadCloser, error) {
	return nil, fault.Errorf(fault.Permanent, "nothing is kept")
}

// Delete implements source.Store.
func (store) Delete(context.Context, string) error { return nil }
