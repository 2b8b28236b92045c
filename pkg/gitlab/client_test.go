package gitlab_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/source"
)

const (
	token = "glpat-test-token"
	path  = "group/sub/app"
)

// lab is a GitLab with one project, and a client of it.
func lab(t *testing.T) (*gitlabtest.Server, *gitlabtest.Project, *gitlab.Client) {
	t.Helper()
	s := gitlabtest.New(token)
	p := s.Project(15, path)
	return s, p, client(t, s.Start(t), token)
}

func client(t *testing.T, url, token string) *gitlab.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := gitlab.New(gitlab.Config{URL: url, Token: token, Timeout: 2 * time.Second, Wait: time.Millisecond, HTTP: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestArchive(t *testing.T) {
	s, p, c := lab(t)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"package.json": "{}", "a/b.txt": strings.Repeat("x", 1<<20)})
	s.Break(gitlabtest.Fault{Path: "/archive", Times: 2, Status: 502})
	r, err := c.Archive(t.Context(), path, sha)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "source")
	if _, err := source.Unpack(t.Context(), r, dir, source.Limits{}, source.StripTop()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "package.json")); string(b) != "{}" || err != nil {
		t.Errorf("package.json: %q, %v", b, err)
	}
	if n := len(s.Calls("GET", "/archive.tar.gz")); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// A download that nobody reads to its end leaves nothing behind.
func TestArchiveClosedEarly(t *testing.T) {
	_, p, c := lab(t)
	p.Archive("refs/heads/main", strings.Repeat("a", 40), make([]byte, 64<<20))
	r, err := c.Archive(t.Context(), path, strings.Repeat("a", 40))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	start := time.Now()
	if err := r.Close(); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("Close: %v after %v", err, time.Since(start))
	}
}

func TestArchiveBreaksOff(t *testing.T) {
	s, p, c := lab(t)
	p.Archive("refs/heads/main", strings.Repeat("a", 40), make([]byte, 1<<20))
	s.Break(gitlabtest.Fault{Truncate: true})
	r, err := c.Archive(t.Context(), path, strings.Repeat("a", 40))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !fault.Retryable(err) {
		t.Errorf("got %v, want transient", err)
	}
}

// What GitLab can do to us, and what that means.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		fault gitlabtest.Fault
		kind  fault.Kind
		is    error
		says  string
		calls int
	}{
		"500":            {gitlabtest.Fault{Status: 500}, fault.Transient, nil, "500", 4},
		"503":            {gitlabtest.Fault{Status: 503}, fault.Transient, nil, "503", 4},
		"408":            {gitlabtest.Fault{Status: 408}, fault.Transient, nil, "408", 4},
		"429":            {gitlabtest.Fault{Status: 429}, fault.Transient, nil, "429", 4},
		"429 for long":   {gitlabtest.Fault{Status: 429, RetryAfter: 3600}, fault.Transient, nil, "3600", 1},
		"dropped":        {gitlabtest.Fault{Drop: true}, fault.Transient, nil, "", 4},
		"401":            {gitlabtest.Fault{Status: 401}, fault.Permanent, gitlab.ErrRefused, "GITLAB_TOKEN", 1},
		"403":            {gitlabtest.Fault{Status: 403}, fault.Permanent, gitlab.ErrRefused, "role", 1},
		"404":            {gitlabtest.Fault{Status: 404}, fault.Permanent, gitlab.ErrNotFound, "member", 1},
		"400":            {gitlabtest.Fault{Status: 400, Body: `{"message":"bad\u001b[2J"}`}, fault.Permanent, nil, "bad [2J", 1},
		"redirect":       {gitlabtest.Fault{Status: 302}, fault.Permanent, nil, "302", 1},
		"not JSON":       {gitlabtest.Fault{Status: 200, Body: "<html>"}, fault.Transient, nil, "", 1},
		"a long message": {gitlabtest.Fault{Status: 422, Body: `{"message":"` + strings.Repeat("x", 5000) + `"}`}, fault.Permanent, nil, "...", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, c := lab(t)
			sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
			s.Break(tt.fault)
			_, err := c.Compare(t.Context(), path, sha, sha, false)
			if err == nil || fault.KindOf(err) != tt.kind || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 600 {
				t.Errorf("got %v (%v), want %v that says %q", err, fault.KindOf(err), tt.kind, tt.says)
			}
			if strings.Contains(err.Error(), token) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("the error shows too much: %q", err)
			}
			if n := len(s.Calls("", "/compare")); n != tt.calls {
				t.Errorf("%d requests, want %d", n, tt.calls)
			}
		})
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	s, p, c := lab(t)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	s.Break(gitlabtest.Fault{Status: 429, RetryAfter: 1, Times: 1})
	start := time.Now()
	if _, err := c.Compare(t.Context(), path, sha, sha, false); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < time.Second {
		t.Errorf("asked again after %v, GitLab had said 1 s", d)
	}
}

func TestSlowGitLab(t *testing.T) {
	s := gitlabtest.New(token)
	p := s.Project(15, path)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	c, err := gitlab.New(gitlab.Config{URL: s.Start(t), Token: token, Timeout: 20 * time.Millisecond, Tries: 2, Wait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Break(gitlabtest.Fault{Delay: 10 * time.Second})
	if _, err := c.Archive(t.Context(), path, sha); !fault.Retryable(err) || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Errorf("got %v, want transient", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Compare(ctx, path, sha, sha, false); !fault.Retryable(err) {
		t.Errorf("cancelled: %v, want transient", err)
	}
}

func TestCompare(t *testing.T) {
	_, p, c := lab(t)
	a := p.Commit("refs/heads/main", gitlabtest.Tree{"package.json": "1", "x": "1", "old": "1"})
	b := p.Commit("refs/heads/feature", gitlabtest.Tree{"package.json": "2", "x": "1", "new": "1"})
	m := p.Commit("refs/heads/main", gitlabtest.Tree{"package.json": "1", "x": "2", "old": "1"})
	many := gitlabtest.Tree{"package.json": "1"}
	for i := range 150 {
		many["f"+strings.Repeat("x", i)] = "1"
	}
	l := p.Commit("refs/heads/large", many)
	for name, tt := range map[string]struct {
		from, to string
		base     bool
		want     gitlab.Changes
	}{
		"direct":     {a, b, false, gitlab.Changes{Paths: []string{"new", "old", "package.json"}, Complete: true}},
		"other side": {m, b, false, gitlab.Changes{Paths: []string{"new", "old", "package.json", "x"}, Complete: true}},
		"since base": {m, b, true, gitlab.Changes{Paths: []string{"new", "old", "package.json"}, Complete: true}},
		"the same":   {a, a, false, gitlab.Changes{Complete: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Compare(t.Context(), path, tt.from, tt.to, tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if got, err := c.Compare(t.Context(), path, a, l, false); err != nil || got.Complete {
		t.Errorf("150 files: %v, complete %v", err, got.Complete)
	}
	if _, err := c.Compare(t.Context(), path, strings.Repeat("1", 40), a, false); !errors.Is(err, gitlab.ErrNotFound) {
		t.Errorf("an unknown commit: %v", err)
	}
	if d, err := c.Digest(t.Context(), path, a, "package.json"); err != nil || d != "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" {
		t.Errorf("digest %q, %v", d, err)
	}
	if _, err := c.Digest(t.Context(), path, b, "old"); !errors.Is(err, gitlab.ErrNotFound) {
		t.Errorf("a file that is gone: %v", err)
	}
}

// A comparison that hides behind GitLab's limits does not count as complete.
func TestCompareThatMayBeCut(t *testing.T) {
	for name, body := range map[string]string{
		"timeout":   `{"diffs":[{"new_path":"a","old_path":"a"}],"compare_timeout":true}`,
		"collapsed": `{"diffs":[{"new_path":"a","old_path":"a","collapsed":true}]}`,
		"too large": `{"diffs":[{"new_path":"a","old_path":"a","too_large":true}]}`,
		"empty":     `{"diffs":[]}`,
		"lines":     `{"diffs":[{"new_path":"a","old_path":"a","diff":"` + strings.Repeat(`\n`, 6000) + `"}]}`,
		"bytes":     `{"diffs":[{"new_path":"a","old_path":"a","diff":"` + strings.Repeat("x", 200<<10) + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, _, c := lab(t)
			s.Break(gitlabtest.Fault{Status: 200, Body: body})
			if got, err := c.Compare(t.Context(), path, "a", "b", false); err != nil || got.Complete {
				t.Errorf("%v, complete %v", err, got.Complete)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	s, p, c := lab(t)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	set := func(state gitlab.State, text string) {
		t.Helper()
		st := gitlab.Status{Project: path, SHA: sha, Ref: "main", Name: "falconer", State: state, Description: text, TargetURL: "https://falconer.example.com/1"}
		if err := c.SetStatus(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	}
	pipe := p.AddPipeline(sha, "main")
	set(gitlab.Pending, "waiting")
	p.AddPipeline(sha, "main") // a second pipeline does not get a second status
	for _, step := range []struct {
		state      gitlab.State
		text       string
		want, says string
	}{
		{gitlab.Running, "running", "running", "running"},
		{gitlab.Pending, "waiting", "running", "running"},
		{gitlab.Running, "running again", "running", "running"},
		{gitlab.Success, "clean", "success", "clean"},
		{gitlab.Success, "clean", "success", "clean"},
		{gitlab.Running, "late", "success", "clean"},
		{gitlab.Failed, "malicious", "failed", "malicious"},
		{gitlab.Failed, "malicious, 2 findings", "failed", "malicious, 2 findings"},
		{gitlab.Success, strings.Repeat("ü", 400), "success", strings.Repeat("ü", gitlab.MaxText-3) + "..."},
	} {
		set(step.state, step.text)
		got := p.Statuses(sha)
		if len(got) != 1 || got[0].State != step.want || got[0].Description != step.says || got[0].PipelineID != pipe || got[0].TargetURL != "https://falconer.example.com/1" {
			t.Errorf("after %s %q: %+v", step.state, step.text, got)
		}
	}
	s.Forget()
	set(gitlab.Success, strings.Repeat("ü", 400))
	if n := len(s.Calls("POST", "")); n != 0 {
		t.Errorf("%d writes for what stands there already", n)
	}
}

func TestStatusConcurrently(t *testing.T) {
	s, p, c := lab(t)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	s.Break(gitlabtest.Fault{Method: "POST", Times: 3, Lose: true}) // done, but the answer is lost
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			st := gitlab.Status{Project: path, SHA: sha, Ref: "main", Name: "falconer", State: gitlab.Failed, Description: "malicious"}
			if err := c.SetStatus(t.Context(), st); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := p.Statuses(sha); len(got) != 1 || got[0].State != "failed" {
		t.Errorf("statuses %+v", got)
	}
}

// An outcome is not taken back by a state that was on its way before it.
func TestStatusOvertaken(t *testing.T) {
	s, p, c := lab(t)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	s.Break(gitlabtest.Fault{Method: "POST", Times: 1, Delay: 300 * time.Millisecond})
	set := func(state gitlab.State) {
		if err := c.SetStatus(t.Context(), gitlab.Status{Project: path, SHA: sha, Ref: "main", Name: "falconer", State: state}); err != nil {
			t.Error(err)
		}
	}
	var late sync.WaitGroup
	late.Go(func() { set(gitlab.Running) })
	for len(s.Calls("POST", "/statuses/")) == 0 {
		time.Sleep(time.Millisecond)
	}
	set(gitlab.Failed)
	late.Wait()
	if got := p.Statuses(sha); len(got) != 1 || got[0].State != "failed" {
		t.Errorf("statuses %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.SetStatus(ctx, gitlab.Status{Project: path, SHA: sha, Ref: "main", Name: "falconer", State: gitlab.Failed}); !fault.Retryable(err) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestReadOnlyToken(t *testing.T) {
	s := gitlabtest.New(token)
	p := s.Project(15, path)
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	s.Reader("glpat-reader")
	c := client(t, s.Start(t), "glpat-reader")
	if r, err := c.Archive(t.Context(), path, sha); err != nil {
		t.Error(err)
	} else if err := r.Close(); err != nil {
		t.Error(err)
	}
	err := c.SetStatus(t.Context(), gitlab.Status{Project: path, SHA: sha, Ref: "main", Name: "falconer", State: gitlab.Pending})
	if !errors.Is(err, gitlab.ErrRefused) || !strings.Contains(err.Error(), "scope") {
		t.Errorf("got %v", err)
	}
}

func TestDiscussions(t *testing.T) {
	s, p, c := lab(t)
	p.Commit("refs/heads/main", gitlabtest.Tree{"a": "1"})
	first := p.Commit("refs/heads/feature", gitlabtest.Tree{"a": "2"})
	sha := p.Commit("refs/heads/feature", gitlabtest.Tree{"a": "3"})
	p.Open(4, p, "feature")
	for range 130 {
		p.Say(4, "hello")
	}
	list, err := c.MergeRequests(t.Context(), path, first)
	want := gitlab.MergeRequest{Project: path, IID: 4, Target: "main", Source: "feature", Head: sha}
	if err != nil || !cmp.Equal(list, []gitlab.MergeRequest{want}) {
		t.Fatalf("%+v, %v", list, err)
	}
	if commits, err := c.Commits(t.Context(), want); err != nil || len(commits) < 2 || commits[0] != sha || commits[1] != first {
		t.Errorf("commits %v, %v", commits, err)
	}
	made, err := c.Start(t.Context(), want, "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Edit(t.Context(), want, made, "two"); err != nil {
		t.Error(err)
	}
	if err := c.Resolve(t.Context(), want, made, true); err != nil {
		t.Error(err)
	}
	self, err := c.Self(t.Context())
	if err != nil {
		t.Error(err)
	}
	var mine []gitlab.Thread
	n := 0
	err = c.Threads(t.Context(), want, func(th gitlab.Thread) bool {
		if n++; th.Author == self {
			mine = append(mine, th)
		}
		return true
	})
	if err != nil || n != 131 || !cmp.Equal(mine, []gitlab.Thread{{ID: made.ID, Note: made.Note, Body: "two", Author: self, Resolved: true}}) {
		t.Errorf("%d threads, ours %+v, %v", n, mine, err)
	}
	// Opening one is not sent again by itself: it may have worked.
	s.Break(gitlabtest.Fault{Method: "POST", Path: "/discussions", Lose: true})
	if _, err := c.Start(t.Context(), want, "three"); !fault.Retryable(err) {
		t.Errorf("got %v, want transient", err)
	}
	s.Mend()
	if got := p.Discussions(4); len(got) != 132 {
		t.Errorf("%d threads, want 132: it was sent more than once", len(got))
	}
	if err := c.Remove(t.Context(), want, made); err != nil {
		t.Error(err)
	}
}

func TestFromEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("glpat-from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env  map[string]string
		none bool
		err  string
	}{
		"nothing":       {nil, true, ""},
		"both":          {map[string]string{"GITLAB_URL": "https://gitlab.example.com", "GITLAB_TOKEN": token}, false, ""},
		"file":          {map[string]string{"GITLAB_URL": "https://gitlab.example.com/gitlab/", "GITLAB_TOKEN_FILE": file}, false, ""},
		"only a mount":  {map[string]string{"GITLAB_TOKEN_FILE": file + ".none"}, true, ""},
		"no file":       {map[string]string{"GITLAB_URL": "https://gitlab.example.com", "GITLAB_TOKEN_FILE": file + ".none"}, true, "GITLAB_TOKEN_FILE"},
		"no token":      {map[string]string{"GITLAB_URL": "https://gitlab.example.com"}, true, "GITLAB_TOKEN"},
		"no address":    {map[string]string{"GITLAB_TOKEN": token}, true, "GITLAB_URL"},
		"bad address":   {map[string]string{"GITLAB_URL": "gitlab.example.com", "GITLAB_TOKEN": token}, true, "GITLAB_URL"},
		"with password": {map[string]string{"GITLAB_URL": "https://a:b@gitlab.example.com", "GITLAB_TOKEN": token}, true, "GITLAB_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := gitlab.FromEnv(func(k string) string { return tt.env[k] })
			if (c == nil) != tt.none || (err == nil) != (tt.err == "") || err != nil && (fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}
