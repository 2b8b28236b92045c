//go:build cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/test/cluster/world"
	"github.com/falconer-sec/falconer/test/corpus"
)

// scanLabel is where a Job and its pod carry their scan's ID.
const scanLabel = "falconer.dev/scan-id"

// run makes projects of this run distinct from those of earlier ones.
var run = fmt.Sprintf("%x", time.Now().Unix())

func cases(t testing.TB) map[string]corpus.Case {
	t.Helper()
	all, err := world.Cases()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// push commits a case to a project of its own and sends the webhook.
func (r *rig) push(p world.Push) (scan.ID, world.Pushed) {
	r.Helper()
	var done world.Pushed
	r.call("POST", "/push", p, &done)
	if done.Status/100 != 2 {
		r.Fatalf("the webhook of %s was answered %d: %s", p.Project, done.Status, done.Answer)
	}
	return scanID(r, p, done.Commit), done
}

// scanID computes the ID that a push's scan has.
func scanID(t testing.TB, p world.Push, commit string) scan.ID {
	t.Helper()
	c, ok := cases(t)[p.Case]
	if !ok {
		t.Fatalf("there is no case %s", p.Case)
	}
	files, err := c.Project()
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for name, b := range files {
		fsys[name] = &fstest.MapFile{Data: b, Mode: 0o644}
	}
	project, err := npm.Manager{}.Load(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := shipped.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return scan.Key{Project: p.Project, Commit: commit, Root: ".", Manager: "npm",
		Lockfile: project.Digest, Recipe: npm.RecipeVersion, Rules: rules.Version()}.ID()
}

// results returns the results that were reported of a scan, oldest first.
func (r *rig) results(id scan.ID) []finding.Result {
	r.Helper()
	var events []ce.Event
	r.call("GET", "/reports?subject="+string(id), nil, &events)
	var out []finding.Result
	for _, e := range events {
		if e.Type() != event.ScanFinished && e.Type() != event.ScanAmended {
			continue
		}
		var x finding.Result
		if err := json.Unmarshal(e.Data(), &x); err != nil {
			r.Fatalf("report %s: %v", e.ID(), err)
		}
		out = append(out, x)
	}
	return out
}

// result waits for a scan's first result.
func (r *rig) result(id scan.ID, limit time.Duration) finding.Result {
	r.Helper()
	var list []finding.Result
	r.eventually(limit, "the result of scan "+string(id), func() bool {
		list = r.results(id)
		return len(list) > 0
	})
	return list[len(list)-1]
}

// final waits until a commit's status is no longer pending.
func (r *rig) final(project, commit string, limit time.Duration) world.Status {
	r.Helper()
	var last world.Status
	r.eventually(limit, "the verdict on "+project, func() bool {
		var list []world.Status
		r.call("GET", "/statuses?project="+project+"&commit="+commit, nil, &list)
		for _, s := range list {
			last = s
		}
		return last.State == "success" || last.State == "failed"
	})
	return last
}

// TestPushToVerdict is the main job from end to end, with everything at zero
// before and after.
func TestPushToVerdict(t *testing.T) {
	r := open(t)
	for _, name := range []string{"stolen-key", "benign-postinstall"} {
		t.Run(name, func(t *testing.T) {
			r := &rig{TB: t, k8s: r.k8s, rest: r.rest, world: r.world, jobs: r.jobs}
			c := cases(t)[name]
			r.zero()
			id, pushed := r.push(world.Push{Project: "acme/" + name + "-" + run, Case: name})
			job, created := r.job(id, time.Minute)
			if got := job.Spec.Template.Spec.AutomountServiceAccountToken; got == nil || *got {
				t.Error("the Job's pod gets a service account's token")
			}
			status := r.final("acme/"+name+"-"+run, pushed.Commit, 5*time.Minute)
			result := r.result(id, time.Minute)
			for _, difference := range c.Check(result) {
				t.Error(difference)
			}
			if want := map[finding.Verdict]string{finding.Malicious: "failed", finding.Clean: "success"}[c.Expect.Verdict]; status.State != want {
				t.Errorf("GitLab's status is %s (%s), want %s", status.State, status.Description, want)
			}
			if !strings.Contains(status.Description, string(result.Verdict)) {
				t.Errorf("GitLab's status %q does not say %s", status.Description, result.Verdict)
			}
			report(t, name, pushed, created, result, status)
			r.zero()
			r.traced(id)
		})
	}
}

// report prints how long each part of the way took.
func report(t *testing.T, name string, p world.Pushed, created time.Time, result finding.Result, s world.Status) {
	ms := func(from, to time.Time) string { return to.Sub(from).Round(time.Millisecond).String() }
	fmt.Fprintf(os.Stderr, "%s: push answered after %s, Job after %s, sandbox's end after %s, verdict %s at GitLab %s after the end (%s in all)\n",
		name, ms(p.Sent, p.Answered), ms(p.Sent, created), ms(p.Sent, result.Finished), result.Verdict, ms(result.Finished, s.Received), ms(p.Sent, s.Received))
}

// total returns how many alerts of the world's own rule a result has.
func total(result finding.Result) (n int64) {
	for _, f := range result.Findings {
		if f.Rule == world.ProbeRule {
			n += f.Count
		}
	}
	return n
}
