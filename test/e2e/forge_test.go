package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
)

// A push and a merge request at a GitLab, each told three times, end in one
// commit status and one discussion there, after one scan in a real sandbox; the
// discussion is resolved once the merge request is clean.
func TestGitLab(t *testing.T) {
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	base := p.Commit("refs/heads/main", gitlabtest.Tree(project(t, "benign-plain")))
	bad := p.Commit("refs/heads/feature", gitlabtest.Tree(project(t, "stolen-key")))
	mr := p.Open(1, p, "feature")
	a := newAccount(t)
	a.env = append(a.env, "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1", "GITLAB_URL="+lab.Start(t), "GITLAB_TOKEN=glpat-test-token",
		"FALCONER_RESULT_URL=https://falconer.example.com/scans")
	s := a.serve()
	hook := gitlabtest.Hook{URL: s.url + "/gitlab/webhook", Token: "hook-token-1"}
	fire := func(d gitlabtest.Delivery) {
		t.Helper()
		for range 3 { // GitLab sends again what it is not sure of
			if r, err := hook.Send(t.Context(), d); err != nil || r.Status != http.StatusOK {
				t.Fatalf("%s: %+v %v", d.Kind, r, err)
			}
		}
	}
	concluded := func(sha, state string) gitlabtest.Status {
		t.Helper()
		var all []gitlabtest.Status
		eventually(t, "GitLab has the status "+state, func() (string, bool) {
			all = p.Statuses(sha)
			return s.errout.String(), len(all) == 1 && all[0].State == state
		})
		return all[0]
	}
	fire(p.Push("refs/heads/feature", gitlabtest.Zero, bad))
	fire(p.MergeRequestHook(mr, "open", ""))
	st := concluded(bad, "failed")
	if st.Name != "falconer npm" || !strings.Contains(st.Description, "malicious") || !strings.HasPrefix(st.TargetURL, "https://falconer.example.com/scans/") {
		t.Errorf("status %+v", st)
	}
	if code, page := s.get(strings.TrimPrefix(st.TargetURL, "https://falconer.example.com")); code != http.StatusOK || !strings.Contains(page, "MALICIOUS") || !strings.Contains(page, bad) {
		t.Errorf("the status leads to %d %s", code, page)
	}
	eventually(t, "the merge request has its discussion", func() (string, bool) {
		threads := p.Discussions(1)
		return s.errout.String(), len(threads) == 1 && strings.Contains(threads[0].Notes[0].Body, "Credential file read") && !threads[0].Notes[0].Resolved
	})
	good := p.Commit("refs/heads/feature", gitlabtest.Tree(project(t, "benign-postinstall")))
	p.Advance(mr, p)
	fire(p.Push("refs/heads/feature", bad, good))
	fire(p.MergeRequestHook(mr, "update", bad))
	concluded(good, "success")
	eventually(t, "the discussion is resolved", func() (string, bool) {
		threads := p.Discussions(1)
		return s.errout.String(), len(threads) == 1 && len(threads[0].Notes) == 1 && threads[0].Notes[0].Resolved
	})
	if n := s.count("sandbox.exited", ""); n != 2 {
		t.Errorf("%d sandboxes, want 2", n)
	}
	if all := p.Statuses(base); len(all) != 0 {
		t.Errorf("a commit that nobody pushed has %+v", all)
	}
	s.stop()
}

// A GitLab that takes nothing for a while loses nothing: the verdict is told
// again until it is taken; what was given up before is a dead letter, and
// replayed at the same time it does not take the verdict back. One status and
// one discussion, after one scan.
func TestGitLabAway(t *testing.T) {
	t.Parallel() // it waits for the retries
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	p.Commit("refs/heads/main", gitlabtest.Tree(project(t, "benign-plain")))
	bad := p.Commit("refs/heads/feature", gitlabtest.Tree(project(t, "stolen-key")))
	p.Open(1, p, "feature")
	lab.Break(gitlabtest.Fault{Path: "/statuses", Status: http.StatusServiceUnavailable})
	lab.Break(gitlabtest.Fault{Path: "/merge_requests", Status: http.StatusForbidden})
	a := newAccount(t)
	a.env = append(a.env, "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1", "GITLAB_URL="+lab.Start(t), "GITLAB_TOKEN=glpat-test-token")
	s := a.serve()
	hook := gitlabtest.Hook{URL: s.url + "/gitlab/webhook", Token: "hook-token-1"}
	if r, err := hook.Send(t.Context(), p.Push("refs/heads/feature", gitlabtest.Zero, bad)); err != nil || r.Status != http.StatusOK {
		t.Fatalf("push: %+v %v", r, err)
	}
	var listing outcome
	eventually(t, "what GitLab did not take is a dead letter", func() (string, bool) {
		listing = a.falconer("replay", "--server", s.url)
		return listing.out + listing.errout, strings.Contains(listing.out, "scan.requested") && strings.Contains(listing.out, "scan.started")
	})
	if !strings.Contains(listing.out, "GitLab answered 503") {
		t.Errorf("the letters do not say why:\n%s", listing.out)
	}
	if st, threads := p.Statuses(bad), p.Discussions(1); len(st)+len(threads) != 0 {
		t.Errorf("a GitLab that is away has %+v %+v", st, threads)
	}
	lab.Mend()
	if o := a.falconer("replay", "--server", s.url, "--all"); o.code != 0 || strings.Count(o.out, "replayed") != 2 {
		t.Errorf("replay: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	eventually(t, "GitLab has the verdict", func() (string, bool) {
		st, threads := p.Statuses(bad), p.Discussions(1)
		return s.errout.String(), len(st) == 1 && st[0].State == "failed" && len(threads) == 1 && strings.Contains(threads[0].Notes[0].Body, "Credential file read")
	})
	if n := s.count("sandbox.exited", ""); n != 1 {
		t.Errorf("%d sandboxes, want 1", n)
	}
	s.stop()
}

// A push that no webhook told of is scanned all the same: at the start, since
// that is when one looks.
func TestMissedPush(t *testing.T) {
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	bad := p.Commit("refs/heads/main", gitlabtest.Tree(project(t, "stolen-key")))
	a := newAccount(t)
	a.env = append(a.env, "GITLAB_URL="+lab.Start(t), "GITLAB_TOKEN=glpat-test-token", "FALCONER_GITLAB_PROJECTS=mike/diaspora")
	s := a.serve()
	concluded := func(sha, state string) {
		t.Helper()
		eventually(t, "GitLab has the status "+state, func() (string, bool) {
			all := p.Statuses(sha)
			return s.errout.String(), len(all) == 1 && all[0].State == state
		})
	}
	concluded(bad, "failed")
	s.stop()
	good := p.Commit("refs/heads/main", gitlabtest.Tree(project(t, "benign-postinstall")))
	s = a.serve()
	concluded(good, "success")
	if n := s.count("repo.push", "mike/diaspora"); n != 2 {
		t.Errorf("%d pushes, want 2", n)
	}
	s.stop()
}
