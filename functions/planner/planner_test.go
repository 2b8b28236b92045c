package planner

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/source"
)

var update = flag.Bool("update", false, "rewrite the events in testdata/*.txtar")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const commit = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"

// toy is a package manager whose projects have a toy.lock; one that says "bad"
// is malformed.
type toy struct{ ecosystem.Manager }

func (toy) Name() string { return "toy" }

func (toy) Detect(fsys fs.FS) (roots []string, err error) {
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && path.Base(p) == "toy.lock" {
			roots = append(roots, path.Dir(p))
		}
		return err
	})
	return roots, err
}

func (toy) Load(fsys fs.FS, root string) (ecosystem.Project, error) {
	name := path.Join(root, "toy.lock")
	b, err := fs.ReadFile(fsys, name)
	switch {
	case err != nil:
		return ecosystem.Project{}, err
	case string(b) == "bad\n":
		return ecosystem.Project{}, fault.Errorf(fault.Invalid, "%s: line 1: not a lockfile", name)
	case string(b) == "busy\n":
		return ecosystem.Project{}, errors.New("input/output error")
	}
	sum := sha256.Sum256(b)
	return ecosystem.Project{Manager: "toy", Root: root, Lockfile: "toy.lock", Digest: "sha256:" + hex.EncodeToString(sum[:])}, nil
}

func (toy) Recipe(ecosystem.Project, ecosystem.Setting) ecosystem.Recipe {
	return ecosystem.Recipe{Version: "toy-1"}
}

// shelf is a Store in memory.
type shelf struct {
	archives map[string][]byte
	err      error
}

var _ source.Store = (*shelf)(nil)

func (s *shelf) Put(_ context.Context, r io.Reader) (scan.Source, error) {
	if s.err != nil {
		return scan.Source{}, s.err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return scan.Source{}, err
	}
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	if s.archives == nil {
		s.archives = map[string][]byte{}
	}
	s.archives["sha256-"+digest] = b
	return scan.Source{Object: "sha256-" + digest, Digest: "sha256:" + digest, Size: int64(len(b))}, nil
}

func (s *shelf) Get(_ context.Context, object string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.archives[object])), nil
}

func (s *shelf) Delete(context.Context, string) error { return nil }

// fetcher serves one archive for every push.
type fetcher func() (io.Reader, error)

func (f fetcher) Fetch(context.Context, event.Push) (io.ReadCloser, error) {
	r, err := f()
	return io.NopCloser(r), err
}

func newFunction(t *testing.T, emit function.Emitter, f SourceFetcher) (*Function, *shelf) {
	s := &shelf{}
	return &Function{
		Planner: Planner{Store: s, Managers: []ecosystem.Manager{toy{}}, Rules: "rules-1", TempDir: t.TempDir()},
		Fetcher: f, Emitter: emit, Now: func() time.Time { return now }, Log: eventtest.Log(t),
	}, s
}

// archive packs files below a top-level directory, as GitLab does.
func archive(t testing.TB, files []txtar.File) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: "app-main/" + f.Name, Mode: 0o644, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func push(t testing.TB) ce.Event {
	t.Helper()
	e, err := event.New(event.RepoPush, event.Source("gitlabhook"), "mike/diaspora", "push-1", now,
		event.Push{Provider: "gitlab", ProjectID: 15, Project: "mike/diaspora", WebURL: "https://gitlab.example.com/mike/diaspora", Ref: "refs/heads/main", After: commit})
	if err != nil {
		t.Fatal(err)
	}
	e.SetExtension(event.ExtTraceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return e
}

// TestPushes pushes the source in each testdata/*.txtar and compares the
// events with those that stand in "events".
func TestPushes(t *testing.T) {
	eventtest.Golden(t, *update, func(t *testing.T, a *txtar.Archive) []byte {
		var r eventtest.Recorder
		b := archive(t, a.Files[:len(a.Files)-1])
		f, _ := newFunction(t, &r, fetcher(func() (io.Reader, error) { return bytes.NewReader(b), nil }))
		if _, err := f.Handle(t.Context(), push(t)); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, e := range r.Events() {
			if err := event.Check(e); err != nil {
				t.Error(err)
			}
			j, err := json.MarshalIndent(e, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got.Write(append(j, '\n'))
		}
		if left, _ := os.ReadDir(f.Planner.TempDir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return got.Bytes()
	})
}

func TestHandleIsIdempotent(t *testing.T) {
	b := archive(t, []txtar.File{{Name: "toy.lock", Data: []byte("a\n")}, {Name: "b/toy.lock", Data: []byte("bad\n")}})
	fails := 0
	r := eventtest.Recorder{Answer: func(context.Context, ce.Event, int) (*ce.Event, error) {
		if fails++; fails == 2 {
			return nil, errors.New("broker away")
		}
		return nil, nil
	}}
	f, s := newFunction(t, &r, fetcher(func() (io.Reader, error) { return bytes.NewReader(b), nil }))
	if _, err := f.Handle(t.Context(), push(t)); !fault.Retryable(err) {
		t.Fatalf("broker away: %v, want transient", err)
	}
	if _, err := f.Handle(t.Context(), push(t)); err != nil {
		t.Fatal(err)
	}
	ids := r.IDs()
	if len(ids) != 4 || ids[0] != ids[1] || ids[2] != ids[3] || len(s.archives) != 1 {
		t.Errorf("twice the same push made events %v and %d archives", ids, len(s.archives))
	}
}

func TestHandleErrors(t *testing.T) {
	good := archive(t, []txtar.File{{Name: "toy.lock", Data: []byte("a\n")}})
	busy := archive(t, []txtar.File{{Name: "toy.lock", Data: []byte("busy\n")}})
	evil := archive(t, []txtar.File{{Name: "../../x", Data: []byte("x")}})
	for name, test := range map[string]struct {
		fetch  fetcher
		store  error
		reason string // of scan.rejected; "" means that the event is retried
	}{
		"forge away":     {func() (io.Reader, error) { return nil, errors.New("connection refused") }, nil, ""},
		"commit gone":    {func() (io.Reader, error) { return nil, fault.Errorf(fault.Permanent, "no such commit") }, nil, "no such commit"},
		"store away":     {func() (io.Reader, error) { return bytes.NewReader(good), nil }, errors.New("no JetStream"), ""},
		"disk broken":    {func() (io.Reader, error) { return bytes.NewReader(busy), nil }, nil, ""},
		"hostile":        {func() (io.Reader, error) { return bytes.NewReader(evil), nil }, nil, "../x"},
		"not an archive": {func() (io.Reader, error) { return strings.NewReader("<html>"), nil }, nil, "not a gzip archive"},
		"too large":      {func() (io.Reader, error) { return bytes.NewReader(good), nil }, fault.Errorf(fault.TooLarge, "larger than 1 byte"), "larger than 1 byte"},
	} {
		t.Run(name, func(t *testing.T) {
			var r eventtest.Recorder
			f, s := newFunction(t, &r, test.fetch)
			s.err = test.store
			_, err := f.Handle(t.Context(), push(t))
			if test.reason == "" {
				if !fault.Retryable(err) || len(r.Events()) > 0 {
					t.Errorf("Handle = %v with %d events, want it transient with none", err, len(r.Events()))
				}
				return
			}
			if err != nil || len(r.Events()) != 1 {
				t.Fatalf("Handle = %v with %d events, want one", err, len(r.Events()))
			}
			e := r.Events()[0]
			data, err := event.Decode[event.Rejected](e)
			if err != nil {
				t.Fatal(err)
			}
			if e.Type() != event.ScanRejected || !strings.Contains(data.Reason, test.reason) || data.Cause != "push-1" || data.Project != "mike/diaspora" {
				t.Errorf("%s with %+v, want the reason %q", e.Type(), data, test.reason)
			}
		})
	}
}

func TestHandleRefusesABrokenPush(t *testing.T) {
	f, _ := newFunction(t, &eventtest.Recorder{}, nil)
	broken := push(t)
	if err := broken.SetData(ce.ApplicationJSON, []byte(`{"project_id":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Handle(t.Context(), broken); fault.KindOf(err) != fault.Invalid {
		t.Errorf("Handle = %v, want invalid", err)
	}
}

func TestHandleIsOnlyWokenByOtherEvents(t *testing.T) {
	rec := &eventtest.Recorder{}
	f, _ := newFunction(t, rec, nil)
	e := push(t)
	e.SetType(event.RefAdded)
	if reply, err := f.Handle(t.Context(), e); reply != nil || err != nil {
		t.Errorf("Handle = %v, %v", reply, err)
	}
	if n := len(rec.Events()); n != 0 {
		t.Errorf("%d events follow from a wake-up", n)
	}
}

// TestPlanIgnoresHowTheArchiveWasMade: a forge's archive, and the directory it
// was made from, are one source.
func TestPlanIgnoresHowTheArchiveWasMade(t *testing.T) {
	files := []txtar.File{{Name: "toy.lock", Data: []byte("a\n")}, {Name: "src/x", Data: []byte("x")}}
	dir := t.TempDir()
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := newFunction(t, nil, nil)
	one, err := f.Planner.Plan(t.Context(), bytes.NewReader(archive(t, files)), Meta{Project: "local/x", StripTop: true})
	if err != nil {
		t.Fatal(err)
	}
	two, err := f.Planner.PlanDir(t.Context(), dir, Meta{Project: "local/x"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(one, two, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-archive +directory):\n%s", d)
	}
	if one.Requests[0].Key().Commit != one.Requests[0].Source.Digest {
		t.Error("without a commit the digest does not stand in")
	}
}

func TestPlanWithholdsSecrets(t *testing.T) {
	f, s := newFunction(t, nil, nil)
	plan, err := f.Planner.Plan(t.Context(), bytes.NewReader(archive(t, []txtar.File{
		{Name: "toy.lock", Data: []byte("a\n")}, {Name: ".env", Data: []byte("SECRET=hunter2")}, {Name: ".env.d/toy.lock", Data: []byte("b\n")},
	})), Meta{Project: "p", StripTop: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Requests) != 1 || len(plan.Requests[0].Source.Excluded) != 2 {
		t.Fatalf("plan %+v", plan)
	}
	if len(plan.Rejected) != 1 || !strings.Contains(plan.Rejected[0].Reason, ".env.d") {
		t.Errorf("rejected %+v", plan.Rejected)
	}
	for _, b := range s.archives {
		zip, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if plain, _ := io.ReadAll(zip); bytes.Contains(plain, []byte("hunter2")) {
			t.Error("the secret is in the store")
		}
	}
}

func TestPlanBounds(t *testing.T) {
	var files []txtar.File
	for i := range MaxRoots + 5 {
		files = append(files, txtar.File{Name: fmt.Sprintf("p%03d/toy.lock", i), Data: []byte("a\n")})
	}
	f, _ := newFunction(t, nil, nil)
	plan, err := f.Planner.Plan(t.Context(), bytes.NewReader(archive(t, files)), Meta{Project: "p", StripTop: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Requests) != MaxRoots || len(plan.Rejected) != 1 || !strings.Contains(plan.Rejected[0].Reason, "105 project roots") {
		t.Errorf("%d requests, rejected %+v", len(plan.Requests), plan.Rejected)
	}
	for _, d := range []time.Duration{-1, scan.MaxTimeout + 1} {
		if _, err := f.Planner.PlanDir(t.Context(), t.TempDir(), Meta{Timeout: d}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("timeout %s: %v, want invalid", d, err)
		}
	}
	if r := (Meta{}).rejected("", "", errors.New(strings.Repeat("ü", 2000))); len(r.Reason) > maxReason+3 {
		t.Errorf("a reason of %d bytes", len(r.Reason))
	}
}

func TestLocalArchives(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/"+commit+".tar.gz", "by commit")
	write("a/b.tgz", "by project")
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "a/out.tgz")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		project, commit, want string
		kind                  fault.Kind
	}{
		"commit":         {"a/b", commit, "by commit", 0},
		"other commit":   {"a/b", strings.Repeat("1", 40), "by project", 0},
		"no project":     {"a/c", commit, "", fault.Permanent},
		"traversal":      {"../a/b", commit, "", fault.Invalid},
		"commit path":    {"a/b", "../b", "", fault.Invalid},
		"no commit":      {"a/b", "", "", fault.Invalid},
		"link leads out": {"a/out", commit, "", fault.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := LocalArchives(dir).Fetch(t.Context(), event.Push{Project: test.project, After: test.commit})
			if test.want == "" {
				if err == nil || fault.KindOf(err) != test.kind {
					t.Errorf("Fetch = %v, want %v", err, test.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if b, err := io.ReadAll(r); string(b) != test.want || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
	if _, err := LocalArchives(dir+"/none").Fetch(t.Context(), event.Push{Project: "a/b", After: commit}); !fault.Retryable(err) {
		t.Errorf("directory away: %v, want transient", err)
	}
}
