package jobwatch

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/sandbox/output"
)

// What isolates a scan, in words.
const (
	ownKernel    = "a pod with a kernel of its own (gVisor), no capabilities, read-only root; no network but the registry proxy"
	sharedKernel = "a pod on the node's kernel: seccomp, no capabilities, read-only root; no network but the registry proxy"
)

// maxExited bounds the event's data in bytes: brokers on NATS take a mebibyte,
// and the correlator's state holds it too.
const maxExited = 768 << 10

// exited describes the end of an attempt.
func (w *Watch) exited(ctx context.Context, run runs.Run, job *batchv1.Job, s sight, end ending) (event.Exited, error) {
	log, err := w.log(ctx, s.pod)
	if err != nil {
		return event.Exited{}, err
	}
	fetched, err := w.fetched(ctx, run, end)
	if err != nil {
		return event.Exited{}, err
	}
	if end.at.IsZero() {
		if end.at = w.d.Now(); job != nil && job.DeletionTimestamp != nil {
			end.at = job.DeletionTimestamp.Time
		}
	}
	x := event.Exited{
		Request: run.Request, Attempt: run.Attempt, At: end.at.UTC(),
		Sandbox: finding.Sandbox{Kind: kubernetes.Kind, Isolation: sharedKernel, ExitCode: end.code, Reason: end.reason, Detail: end.detail},
		Log:     log.Tail(), OutputBytes: log.Total(),
		Packages: run.Packages, InstallScripts: run.InstallScripts, Fetches: fetched.Fetches,
	}
	if run.Sensor == event.SensorGVisor {
		x.Sandbox.Isolation = ownKernel
	}
	x.Incomplete = append(x.Incomplete, run.Problems...)
	if end.reason != completed {
		x.Incomplete = append(x.Incomplete, unfinished(end, log))
	}
	x.Incomplete = append(x.Incomplete, fetched.Problems...)
	w.redact(&x)
	return fit(x, fetched.Unlisted), nil
}

// redact keeps the values that the pod was baited with out of what its install
// printed.
func (w *Watch) redact(x *event.Exited) {
	set := canary.New(canary.Derive(w.d.Key, string(x.Request.ID), x.Attempt))
	x.Log = set.Redact(x.Log)
	for i, line := range x.Incomplete {
		x.Incomplete[i] = set.Redact(line)
	}
}

// unfinished is why the install was not seen to its end.
func unfinished(end ending, log *output.Output) string {
	why := cmp.Or(end.detail, "the install did not complete")
	if line := log.LastLine(); end.reason == failed && line != "" {
		return why + ": " + line
	}
	return why
}

// fetched asks the registry service what the attempt fetched. A service that
// does not answer must not keep a verdict back for ever.
func (w *Watch) fetched(ctx context.Context, run runs.Run, end ending) (fetches.Log, error) {
	log, err := w.d.Fetches.Fetches(ctx, run.Request.ID, run.Attempt)
	if err == nil {
		return log, nil
	}
	since := end.at
	if since.IsZero() {
		since = run.Deadline
	}
	if fault.Retryable(err) && w.d.Now().Sub(since) < NoFetchesAfter {
		return log, err
	}
	w.d.Log.Error("what a scan fetched is not known", "scan_id", run.Request.ID, "error", err)
	return fetches.Log{Problems: []string{"what was fetched from the registry is not known: the registry service does not say"}}, nil
}

// fit makes the data small enough for an event: fetches that went well lose
// their integrity first, which the lockfile has too; then the last ones go.
func fit(x event.Exited, unlisted int) event.Exited {
	total := size(x)
	if total > maxExited {
		list := append([]finding.Fetch(nil), x.Fetches...)
		for i := range list {
			if list[i].Refused == "" {
				list[i].Integrity = ""
			}
		}
		x.Fetches = list
		total = size(x)
	}
	for total > maxExited && len(x.Fetches) > 0 {
		last := len(x.Fetches) - 1
		total -= size(x.Fetches[last]) + 1
		x.Fetches = x.Fetches[:last]
		unlisted++
	}
	if unlisted > 0 {
		x.Incomplete = append(x.Incomplete, fmt.Sprintf("%d fetches from the registry are not listed, there were too many", unlisted))
	}
	return x
}

// size is a value's length as JSON.
func size(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return 0 // event.New says so
	}
	return len(b)
}
