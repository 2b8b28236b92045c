package reporter_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const forgeToken = "glpat-test-token"

// forge is a GitLab with one project and one commit on main.
func forge(t *testing.T) (lab *gitlabtest.Server, p *gitlabtest.Project, c *gitlab.Client, commit string) {
	t.Helper()
	lab = gitlabtest.New(forgeToken)
	p = lab.Project(15, "mike/diaspora")
	commit = p.Commit("refs/heads/main", gitlabtest.Tree{"package.json": "{}"})
	c, err := gitlab.New(gitlab.Config{URL: lab.Start(t), Token: forgeToken, Wait: time.Millisecond, Tries: 2, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return lab, p, c, commit
}

func request(commit, root string) scan.Request {
	r := scan.Request{Project: "mike/diaspora", Ref: "main", Commit: commit, Root: root, Manager: "npm", Lockfile: "package-lock.json"}
	r.ID = r.Key().ID()
	return r
}

// verdict is the result of a request.
func verdict(r scan.Request, revision int, findings []finding.Finding, incomplete ...string) finding.Result {
	out := finding.Result{SchemaVersion: finding.SchemaVersion, ScanID: r.ID, Revision: revision, Project: r.Project, Ref: r.Ref, Commit: r.Commit,
		Root: r.Root, Manager: r.Manager, Lockfile: r.Lockfile, Started: eventtest.At(), Finished: eventtest.At().Add(time.Second),
		Findings: findings, Incomplete: incomplete}
	out.Verdict, out.Reasons = finding.Judge(findings, incomplete)
	return out
}

func bad(rule string, p finding.Priority) finding.Finding {
	return finding.Finding{ID: finding.Fingerprint(rule), Rule: rule, Priority: p, Package: finding.Package{PURL: "pkg:npm/left-pat@1.3.1"}, Script: "postinstall", Count: 1}
}

func tell(t *testing.T, f *reporter.Function, typ, id string, data any) error {
	t.Helper()
	e, err := event.New(typ, event.Source("test"), "s", id, eventtest.At(), data)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Handle(t.Context(), e)
	return err
}

// A scan's way, in the order in which a broker may deliver it: twice, and late.
func TestStatuses(t *testing.T) {
	lab, p, c, commit := forge(t)
	f := reporter.New(eventtest.Log(t), reporter.NewStatuses(c, nil, "https://falconer.example.com/scans/"))
	pipe := p.AddPipeline(commit, "main")
	req := request(commit, ".")
	for i, step := range []struct {
		typ         string
		data        any
		state, text string
	}{
		{event.ScanRequested, req, "pending", "waiting"},
		{event.ScanStarted, event.Started{Request: req, Attempt: 1}, "running", "installing"},
		{event.ScanRequested, req, "running", "installing"},
		{event.ScanFinished, verdict(req, 1, nil), "success", "clean"},
		{event.ScanFinished, verdict(req, 1, nil), "success", "clean"},
		{event.ScanStarted, event.Started{Request: req, Attempt: 1}, "success", "clean"},
		{event.ScanAmended, verdict(req, 2, []finding.Finding{bad("Credential file read", finding.Critical)}), "failed", "malicious: pkg:npm/left-pat@1.3.1 (postinstall): Credential file read"},
	} {
		if err := tell(t, f, step.typ, step.typ+string(rune('a'+i)), step.data); err != nil {
			t.Fatal(err)
		}
		got := p.Statuses(commit)
		if len(got) != 1 || got[0].State != step.state || !strings.HasPrefix(got[0].Description, step.text) || got[0].Name != "falconer npm" ||
			got[0].PipelineID != pipe || got[0].TargetURL != "https://falconer.example.com/scans/"+string(req.ID) {
			t.Errorf("after %s: %+v, want %s %q", step.typ, got, step.state, step.text)
		}
	}
	if n := len(lab.Calls("POST", "/statuses/")); n != 4 {
		t.Errorf("%d statuses were set, want 4", n)
	}
}

// stored are results as they are kept.
type stored struct{ sync.Map }

// Get implements reporter.Results.
func (s *stored) Get(_ context.Context, id scan.ID) (finding.Result, error) {
	if r, ok := s.Load(id); ok {
		return r.(finding.Result), nil
	}
	return finding.Result{}, fault.New("get", fault.Permanent, results.ErrNotFound)
}

// What is told late, as a dead letter is that somebody replays, does not take
// back what the scan has come to since.
func TestStatusesToldLate(t *testing.T) {
	_, p, c, commit := forge(t)
	req := request(commit, ".")
	known := &stored{}
	known.Store(req.ID, verdict(req, 2, []finding.Finding{bad("Credential file read", finding.Critical)}))
	f := reporter.New(eventtest.Log(t), reporter.NewStatuses(c, known, ""))
	for typ, data := range map[string]any{event.ScanRequested: req, event.ScanStarted: event.Started{Request: req}, event.ScanFinished: verdict(req, 1, nil)} {
		if err := tell(t, f, typ, typ, data); err != nil {
			t.Fatal(err)
		}
		if got := p.Statuses(commit); len(got) != 1 || got[0].State != "failed" || !strings.HasPrefix(got[0].Description, "malicious") {
			t.Errorf("after %s: %+v", typ, got)
		}
	}
}

// Two reporters, of which one is slow to say that a scan runs.
func TestStatusesOvertaken(t *testing.T) {
	lab, p, c, commit := forge(t)
	other, err := gitlab.New(gitlab.Config{URL: lab.Start(t), Token: forgeToken})
	if err != nil {
		t.Fatal(err)
	}
	req, known := request(commit, "."), &stored{}
	lab.Break(gitlabtest.Fault{Method: "POST", Times: 1, Delay: 300 * time.Millisecond})
	var late sync.WaitGroup
	late.Go(func() {
		f := reporter.New(eventtest.Log(t), reporter.NewStatuses(other, known, ""))
		if err := tell(t, f, event.ScanStarted, "1", event.Started{Request: req}); err != nil {
			t.Error(err)
		}
	})
	for len(lab.Calls("POST", "/statuses/")) == 0 {
		time.Sleep(time.Millisecond)
	}
	result := verdict(req, 1, []finding.Finding{bad("Credential file read", finding.Critical)})
	known.Store(req.ID, result)
	if err := tell(t, reporter.New(eventtest.Log(t), reporter.NewStatuses(c, known, "")), event.ScanFinished, "2", result); err != nil {
		t.Error(err)
	}
	late.Wait()
	if got := p.Statuses(commit); len(got) != 1 || got[0].State != "failed" {
		t.Errorf("statuses %+v", got)
	}
}

// A rejection that is told late, after the scan was replayed and has its result.
func TestALateRejectionChangesNoVerdict(t *testing.T) {
	_, p, c, commit := forge(t)
	req, known := request(commit, "."), &stored{}
	f := reporter.New(eventtest.Log(t), reporter.NewStatuses(c, known, ""))
	rejected := event.Refused(req, "runner", "1", "could not be started: the registry is away")
	check := func(state, text string) {
		t.Helper()
		if got := p.Statuses(commit); len(got) == 0 || got[len(got)-1].State != state || !strings.HasPrefix(got[len(got)-1].Description, text) {
			t.Errorf("statuses %+v, want %s %q", got, state, text)
		}
	}
	if err := tell(t, f, event.ScanRejected, "1", rejected); err != nil {
		t.Fatal(err)
	}
	check("failed", "not scanned: could not be started")
	if err := tell(t, f, event.ScanStarted, "2", event.Started{Request: req}); err != nil {
		t.Fatal(err)
	}
	check("failed", "not scanned") // as a late "running" would find it, until there is a verdict
	result := verdict(req, 1, nil)
	known.Store(req.ID, result)
	if err := tell(t, f, event.ScanFinished, "3", result); err != nil {
		t.Fatal(err)
	}
	check("success", "clean")
	if err := tell(t, f, event.ScanRejected, "4", rejected); err != nil {
		t.Fatal(err)
	}
	check("success", "clean")
}

func TestStatusOfEachVerdict(t *testing.T) {
	for name, tt := range map[string]struct {
		result      func(scan.Request) any
		typ         string
		state, text string // "" for no status
	}{
		"suspicious": {func(r scan.Request) any {
			return verdict(r, 1, []finding.Finding{bad("New file in home", finding.Warning)})
		}, event.ScanFinished, "success", "suspicious: "},
		"inconclusive": {func(r scan.Request) any { return verdict(r, 1, nil, "the sandbox was lost", "and more") }, event.ScanFinished, "failed", "inconclusive, treat as not scanned: the sandbox was lost (and 1 more)"},
		"rejected":     {func(r scan.Request) any { return event.Refused(r, "runner", "1", "the archive\nis a \x1b[31mbomb") }, event.ScanRejected, "failed", "not scanned: the archive is a [31mbomb"},
		"nothing": {func(r scan.Request) any {
			n := event.Refused(r, "planner", "1", "nothing to scan")
			n.Nothing = true
			return n
		}, event.ScanRejected, "", ""},
		"local":     {func(r scan.Request) any { v := verdict(r, 1, nil); v.Project = "local/x"; return v }, event.ScanFinished, "", ""},
		"no commit": {func(r scan.Request) any { v := verdict(r, 1, nil); v.Commit = ""; return v }, event.ScanFinished, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, p, c, commit := forge(t)
			f := reporter.New(eventtest.Log(t), reporter.NewStatuses(c, nil, ""))
			if err := tell(t, f, tt.typ, "1", tt.result(request(commit, "web"))); err != nil {
				t.Fatal(err)
			}
			got := p.Statuses(commit)
			if tt.state == "" {
				if len(got) > 0 {
					t.Errorf("statuses %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].State != tt.state || !strings.HasPrefix(got[0].Description, tt.text) || got[0].Name != "falconer npm web" {
				t.Errorf("statuses %+v, want %s %q", got, tt.state, tt.text)
			}
		})
	}
}

// GitLab down, slow to answer or refusing: the event comes again, or becomes a
// dead letter; nothing is lost, nothing doubled.
func TestStatusWhenGitLabFails(t *testing.T) {
	for name, tt := range map[string]struct {
		fault gitlabtest.Fault
		again bool
	}{
		"down":          {gitlabtest.Fault{Status: 502, Times: 20}, true},
		"gone":          {gitlabtest.Fault{Drop: true, Times: 20}, true},
		"limits":        {gitlabtest.Fault{Status: 429, RetryAfter: 60, Times: 1}, true},
		"refuses":       {gitlabtest.Fault{Status: 403, Times: 1}, true},
		"token revoked": {gitlabtest.Fault{Status: 401, Times: 1}, true},
		"answer lost":   {gitlabtest.Fault{Method: "POST", Lose: true, Times: 1}, false},
		"no project":    {gitlabtest.Fault{Status: 404, Times: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			lab, p, c, commit := forge(t)
			f := reporter.New(eventtest.Log(t), reporter.NewStatuses(c, nil, ""))
			lab.Break(tt.fault)
			data := verdict(request(commit, "."), 1, nil)
			err := tell(t, f, event.ScanFinished, "1", data)
			if fault.Retryable(err) != tt.again {
				t.Fatalf("got %v, want transient: %v", err, tt.again)
			}
			lab.Mend()
			if err := tell(t, f, event.ScanFinished, "1", data); err != nil {
				t.Error(err)
			}
			if got := p.Statuses(commit); name != "no project" && (len(got) != 1 || got[0].State != "success") {
				t.Errorf("statuses %+v", got)
			}
		})
	}
}

// Sinks that don't follow scans are not bothered.
func TestOnlyFollowersHearOfProgress(t *testing.T) {
	var got []reporter.Report
	f := reporter.New(eventtest.Log(t), keeper{&got})
	req := request(strings.Repeat("a", 40), ".")
	for typ, data := range map[string]any{event.ScanRequested: req, event.ScanStarted: event.Started{Request: req}, event.SandboxExited: event.Exited{Request: req}} {
		if err := tell(t, f, typ, typ, data); err != nil {
			t.Error(err)
		}
	}
	broken := ce.New()
	broken.SetType(event.ScanStarted)
	if err := broken.SetData(ce.ApplicationJSON, []byte(`{"request":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Handle(t.Context(), broken); fault.KindOf(err) != fault.Invalid {
		t.Errorf("got %v, want invalid", err)
	}
	if len(got) > 0 {
		t.Errorf("delivered %+v", got)
	}
}
