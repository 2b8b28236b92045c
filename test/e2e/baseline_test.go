package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/suppress"
)

// vouching is a file of suppressions for every finding of a result that weighs.
func vouching(r finding.Result) string {
	text := "version: 1\nsuppressions:\n"
	for _, f := range r.Findings {
		if f.Weighs() {
			text += "  - package: \"" + f.Package.PURL + "\"\n    rule: \"" + f.Rule + "\"\n    detail: \"" + f.Detail + "\"\n" +
				"    owner: platform@example.com\n    reason: an act, looked at\n    expires: 2099-12-31\n"
			if f.Detail == "" {
				text = strings.Replace(text, "    detail: \"\"\n", "", 1)
			}
		}
	}
	return text
}

// states counts a result's findings that are new, known and suppressed.
func states(r finding.Result) (fresh, known, suppressed int) {
	for _, f := range r.Findings {
		switch {
		case f.Suppressed.Owner != "":
			suppressed++
		case f.Baseline == finding.Known:
			known++
		case f.Baseline == finding.New:
			fresh++
		}
	}
	return fresh, known, suppressed
}

// Scanned a second time against the first result, warnings are known and do not
// weigh; malice does, known or not, and makes no baseline.
func TestBaseline(t *testing.T) {
	a := newAccount(t)
	before := filepath.Join(a.home, "before.json")
	doubtful := a.write("doubtful", project(t, "one-liner"))
	if o := a.falconer("scan", "--quiet", "--format=json", "--output", before, doubtful); o.code != 1 {
		t.Fatalf("the first scan: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	o := a.falconer("scan", "--quiet", "--format=json", "--baseline", before, doubtful)
	if o.code != 0 {
		t.Fatalf("the same again: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	r := results(t, o.out)[0]
	if fresh, known, _ := states(r); fresh != 0 || known == 0 || len(r.Gone) != 0 || r.Verdict != finding.Clean || r.Baseline.Verdict != finding.Suspicious {
		t.Errorf("the same again: %d new, %d known, %d gone, baseline %+v, %s", fresh, known, len(r.Gone), r.Baseline, r.Verdict)
	}
	bad := a.write("bad", project(t, "stolen-key"))
	o = a.falconer("scan", "--quiet", "--baseline", before, bad)
	if o.code != 2 || !strings.Contains(o.out, " new\n") || !strings.Contains(o.out, "Gone since the baseline") {
		t.Errorf("another project: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	if o = a.falconer("scan", "--quiet", "--format=json", "--output", before, bad); o.code != 2 {
		t.Fatalf("malicious: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	o = a.falconer("scan", "--quiet", "--format=json", "--baseline", before, bad)
	if r := results(t, o.out)[0]; o.code != 2 || r.Baseline.ScanID != "" || !strings.Contains(strings.Join(r.Notes, "\n"), "no good scan of before.json") {
		t.Errorf("compared with a malicious scan: exit code %d, baseline %+v, notes %q", o.code, r.Baseline, r.Notes)
	}
	for name, text := range map[string]string{"none.json": "", "other.json": `{"verdict":"clean"}`, "broken.json": "{"} {
		if o := a.falconer("scan", "--quiet", "--baseline", a.put(name, []byte(text)), bad); o.code != 4 || !strings.Contains(o.errout, "--baseline: ") {
			t.Errorf("%s: exit code %d\n%s%s", name, o.code, o.out, o.errout)
		}
	}
}

// What the user vouches for does not weigh, and is shown with who did; what the
// project says of itself does not count.
func TestSuppressions(t *testing.T) {
	a := newAccount(t)
	dir := a.write("bad", project(t, "stolen-key"))
	o := a.falconer("scan", "--quiet", "--format=json", dir)
	text := vouching(results(t, o.out)[0])
	file := a.put("vouched.yaml", []byte(text))
	a.write("bad", files{suppress.FileName: text})
	o = a.falconer("scan", "--quiet", "--format=json", dir)
	r := results(t, o.out)[0]
	if _, _, suppressed := states(r); o.code != 2 || suppressed != 0 || !strings.Contains(strings.Join(r.Notes, "\n"), ".falconer.yaml:3: ") || !strings.Contains(r.Notes[0], "does not count") {
		t.Errorf("vouched for by the project itself: exit code %d, notes %q", o.code, r.Notes)
	}
	o = a.falconer("scan", "--quiet", "--suppressions", file, dir)
	if o.code != 0 || !strings.HasPrefix(o.out, "CLEAN") || !strings.Contains(o.out, "Credential file read") || strings.Contains(o.out, "does not count") ||
		!strings.Contains(o.out, "suppressed by platform@example.com until 2099-12-31: an act, looked at") {
		t.Errorf("vouched for by the user: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
	expired := a.put("expired.yaml", []byte(strings.ReplaceAll(text, "2099-12-31", "2020-12-31")))
	if err := os.Remove(filepath.Join(dir, suppress.FileName)); err != nil {
		t.Fatal(err)
	}
	o = a.falconer("scan", "--quiet", "--suppressions", expired, dir)
	if o.code != 2 || !strings.Contains(o.out, "expired after 2020-12-31; it would match") {
		t.Errorf("expired: exit code %d\n%s", o.code, o.out)
	}
	broken := a.put("broken.yaml", []byte("version: 1\nsuppressions: all\n"))
	if o = a.falconer("scan", "--quiet", "--suppressions", broken, dir); o.code != 4 || !strings.Contains(o.errout, "broken.yaml:2: suppressions is not a list") {
		t.Errorf("broken: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
}

// A merge request is weighed against its target branch: a warning that the target
// has is known, malice that comes with its own suppression is malice, and once the
// default branch has the suppression it counts.
func TestMergeRequestIsWeighed(t *testing.T) {
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	doubtful := project(t, "one-liner").under("web", project(t, "benign-plain"))
	base := p.Commit("refs/heads/main", gitlabtest.Tree(doubtful))
	a := newAccount(t)
	a.env = append(a.env, "FALCONER_GITLAB_WEBHOOK_TOKEN=hook-token-1", "GITLAB_URL="+lab.Start(t), "GITLAB_TOKEN=glpat-test-token")
	s := a.serve()
	hook := gitlabtest.Hook{URL: s.url + "/gitlab/webhook", Token: "hook-token-1"}
	fire := func(d gitlabtest.Delivery) {
		t.Helper()
		if r, err := hook.Send(t.Context(), d); err != nil || r.Status != http.StatusOK {
			t.Fatalf("%s: %+v %v", d.Kind, r, err)
		}
	}
	concluded := func(sha, name, state, word string) {
		t.Helper()
		eventually(t, "GitLab has the status "+name+" "+state+" "+word, func() (string, bool) {
			for _, st := range p.Statuses(sha) {
				if st.Name == name && st.State == state && strings.HasPrefix(st.Description, word) {
					return "", true
				}
			}
			return s.errout.String(), false
		})
	}
	fire(p.Push("refs/heads/main", gitlabtest.Zero, base))
	concluded(base, "falconer npm", "success", "suspicious")
	// The same warning, with another manifest touched.
	changed := project(t, "one-liner")
	changed[".npmrc"] = "fund=false\n"
	same := p.Commit("refs/heads/same", gitlabtest.Tree(changed))
	mr := p.Open(1, p, "same")
	fire(p.MergeRequestHook(mr, "open", ""))
	concluded(same, "falconer npm", "success", "clean: nothing new that weighs")
	if n := len(p.Discussions(1)); n != 0 {
		t.Errorf("%d discussions of a merge request that brings nothing new", n)
	}
	// Malice, and a suppression of it beside.
	evil := project(t, "stolen-key")
	local := a.write("evil", evil)
	o := a.falconer("scan", "--quiet", "--format=json", local)
	text := vouching(results(t, o.out)[0])
	evil[suppress.FileName] = text
	bad := p.Commit("refs/heads/feature", gitlabtest.Tree(evil))
	mr = p.Open(2, p, "feature")
	fire(p.MergeRequestHook(mr, "open", ""))
	concluded(bad, "falconer npm", "failed", "malicious")
	eventually(t, "the merge request has its discussion", func() (string, bool) {
		threads := p.Discussions(2)
		if len(threads) != 1 || threads[0].Notes[0].Resolved {
			return s.errout.String(), false
		}
		body := threads[0].Notes[0].Body
		return body, strings.Contains(body, "new compared with <code>main</code>") && strings.Contains(body, "does not count") && strings.Contains(body, "**Gone**")
	})
	// Somebody who may puts the suppression into the default branch.
	doubtful[suppress.FileName] = text
	p.Commit("refs/heads/main", gitlabtest.Tree(doubtful))
	evil[".npmrc"] = "fund=false\n"
	good := p.Commit("refs/heads/feature", gitlabtest.Tree(evil))
	p.Advance(mr, p)
	fire(p.MergeRequestHook(mr, "update", bad))
	concluded(good, "falconer npm", "success", "clean: nothing new that weighs")
	eventually(t, "the discussion is resolved, and shows who vouches", func() (string, bool) {
		threads := p.Discussions(2)
		return s.errout.String(), len(threads) == 1 && threads[0].Notes[0].Resolved && strings.Contains(threads[0].Notes[0].Body, "platform&#64;example&#46;com")
	})
	s.stop()
}
