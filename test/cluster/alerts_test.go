//go:build cluster

package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

// TestAlertsBeforeDuringAfter sends alerts of a scan's pod before there is a
// scan, while it runs, and after its verdict, each twice: each is in the report
// once.
func TestAlertsBeforeDuringAfter(t *testing.T) {
	r := open(t)
	p := world.Push{Project: "acme/alerts-" + run, Case: "benign-postinstall", Commit: fmt.Sprintf("%040s", "a1e27"+run)}
	id := scanID(t, p, p.Commit)
	const each = 40
	sent := 0
	send := func(webhook bool) {
		t.Helper()
		var answered world.Sent
		r.call("POST", "/alerts", world.Alerts{Namespace: sandboxes, Pod: "falconer-scan-" + string(id) + "-x7k2p", First: sent, Count: each, Webhook: webhook, Twice: true, Persist: true}, &answered)
		if answered.Taken != 2*each {
			t.Fatalf("the gate took %d of %d alerts, the last refusal was %d", answered.Taken, 2*each, answered.Last)
		}
		sent += each
	}
	send(false)
	if got, _ := r.push(p); got != id {
		t.Fatalf("the scan's ID is %s, computed was %s", got, id)
	}
	r.job(id, time.Minute)
	send(true)
	first := r.result(id, 5*time.Minute)
	if n := total(first); n < each || n > 2*each {
		t.Errorf("%d alerts were sent before the verdict, it counts %d", 2*each, n)
	}
	send(false)
	var last finding.Result
	r.eventually(2*time.Minute, "an amended report", func() bool {
		list := r.results(id)
		last = list[len(list)-1]
		return total(last) >= int64(sent)
	})
	time.Sleep(5 * time.Second) // for anything counted twice
	list := r.results(id)
	last = list[len(list)-1]
	if n := total(last); n != int64(sent) {
		t.Errorf("%d alerts were sent, each twice; the report counts %d", sent, n)
	}
	if last.Revision < 2 {
		t.Errorf("the report has revision %d: alerts after the verdict amend it", last.Revision)
	}
	if first.Verdict == finding.Clean {
		t.Errorf("the verdict was clean with %d warnings", total(first))
	}
}
