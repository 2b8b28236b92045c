//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/test/cluster/world"
)

const (
	stormScans  = 50
	stormAlerts = 5_000
)

// TestNothingIsLostWhenPodsDie kills each function's pod, the broker's filter
// and NATS in the middle of 50 scans and 5,000 alerts. Every scan has an end,
// every alert is in its scan's report once.
func TestNothingIsLostWhenPodsDie(t *testing.T) {
	r := open(t)
	ids := make([]scan.ID, stormScans)
	for n := range ids {
		project := fmt.Sprintf("acme/storm-%s-%d", run, n)
		var done world.Pushed
		push := world.Push{Project: project, Case: "benign-postinstall", Persist: true}
		r.call("POST", "/push", push, &done)
		if done.Status/100 != 2 {
			t.Fatalf("the webhook of %s was answered %d", project, done.Status)
		}
		ids[n] = scanID(t, push, done.Commit)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var work sync.WaitGroup
	work.Go(func() { r.killAll(ctx) })
	errs := make(chan error, stormScans)
	for n, id := range ids {
		work.Go(func() {
			each := stormAlerts / stormScans
			var sent world.Sent
			err := r.try(ctx, "POST", "/alerts", world.Alerts{Namespace: sandboxes, Pod: "falconer-scan-" + string(id) + "-q9w8e", First: n * each, Count: each, Webhook: n%2 == 0, Persist: true}, &sent)
			if err == nil && sent.Taken != each {
				err = fmt.Errorf("%d of %d alerts were taken", sent.Taken, each)
			}
			if err != nil {
				errs <- fmt.Errorf("alerts of scan %s: %w", id, err)
			}
		})
	}
	work.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	r.settle(ids, stormAlerts/stormScans)
}

// killAll kills one pod of each kind, a few seconds apart, at once and without
// a chance to finish what it is doing.
func (r *rig) killAll(ctx context.Context) {
	victims := [][2]string{{eventing, "eventing.knative.dev/brokerRole=filter"}, {system, "app.kubernetes.io/name=nats"}, {system, "app.kubernetes.io/name=registry"}}
	for name := range functions {
		victims = append(victims, [2]string{system, serviceLabel + "=" + name})
	}
	now := int64(0)
	for _, v := range victims {
		list, err := r.k8s.CoreV1().Pods(v[0]).List(ctx, metav1.ListOptions{LabelSelector: v[1]})
		if err != nil {
			r.Error(err)
			return
		}
		for _, p := range list.Items {
			fmt.Fprintf(os.Stderr, "killing %s\n", p.Name)
			_ = r.k8s.CoreV1().Pods(v[0]).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}) // it may have gone by itself
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(4 * time.Second):
		}
	}
}

// settle waits until every scan has a result with all its alerts, and compares.
func (r *rig) settle(ids []scan.ID, alerts int) {
	r.Helper()
	end := time.Now().Add(20 * time.Minute)
	open := map[scan.ID]bool{}
	for _, id := range ids {
		open[id] = true
	}
	for len(open) > 0 && time.Now().Before(end) {
		for id := range open {
			if list := r.results(id); len(list) > 0 && total(list[len(list)-1]) >= int64(alerts) {
				delete(open, id)
			}
		}
		time.Sleep(2 * time.Second)
	}
	time.Sleep(10 * time.Second) // for anything counted twice
	verdicts := map[finding.Verdict]int{}
	for _, id := range ids {
		list := r.results(id)
		if len(list) == 0 {
			r.Errorf("scan %s has no end", id)
			continue
		}
		last := list[len(list)-1]
		verdicts[last.Verdict]++
		if n := total(last); n != int64(alerts) {
			r.Errorf("scan %s: %d alerts were sent, the report counts %d", id, alerts, n)
		}
	}
	fmt.Fprintf(os.Stderr, "verdicts of %d scans: %v\n", len(ids), verdicts)
}
