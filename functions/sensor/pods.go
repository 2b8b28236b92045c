package sensor

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Labels of a scan's pod, and the container whose activity is judged.
const (
	labelScan        = "falconer.dev/scan-id"
	labelAttempt     = "falconer.dev/attempt"
	judgedContainer  = "install"
	podSelector      = "app.kubernetes.io/name=falconer-scan"
	defaultNamespace = "falconer-sandbox"
)

// Container is a container of a scan's pod.
type Container struct {
	ID      string
	Scan    scan.ID
	Attempt int
	Pod     string
	Judged  bool // it runs untrusted code
	// Canary is the seed of what the pod is baited with; nil for a pod that is not.
	Canary *canary.Seed
}

// Pods knows the scan pods of this node.
type Pods interface {
	// Await returns the scan container with an ID, and false for one that is
	// none: at once where no scan pod of this node still has a container to
	// start, after a bounded wait otherwise.
	Await(ctx context.Context, id string) (Container, bool)
	// Ended waits until a container is known to have ended. False means that it
	// runs, or that ctx ended first.
	Ended(ctx context.Context, id string) bool
	// Running waits for the first list of the node's pods and returns the judged
	// containers that ran then. The error is ctx's.
	Running(ctx context.Context) ([]Container, error)
}

// How long a container's pod is waited for: the kubelet tells the API server a
// container's ID once it runs.
const (
	awaitTimeout = 20 * time.Second
	// strangerTimeout is for where no scan pod is about to start: the news of it
	// may be on its way.
	strangerTimeout = 2 * time.Second
)

// Table is Pods from what a watch says of them.
type Table struct {
	mu       sync.Mutex
	listed   bool
	running  []Container // judged ones at the first list
	pods     map[string]*corev1.Pod
	byID     map[string]Container
	ended    map[string]bool
	starting map[string]bool // pods with containers that have no ID yet
	changed  chan struct{}   // closed at every change
}

var _ Pods = (*Table)(nil)

// NewTable returns an empty Table.
func NewTable() *Table {
	return &Table{pods: map[string]*corev1.Pod{}, byID: map[string]Container{}, ended: map[string]bool{},
		starting: map[string]bool{}, changed: make(chan struct{})}
}

// Set takes in a pod as it is now. What is no scan's is left out.
func (t *Table) Set(p *corev1.Pod) {
	id, err := scan.ParseID(p.Labels[labelScan])
	if err != nil {
		return
	}
	attempt, err := strconv.Atoi(p.Labels[labelAttempt])
	if err != nil || attempt < 1 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods[string(p.UID)] = p
	delete(t.starting, string(p.UID))
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			cid := bareID(c.ContainerID)
			if cid == "" {
				continue
			}
			t.byID[cid] = Container{ID: cid, Scan: id, Attempt: attempt, Pod: p.Name, Judged: c.Name == judgedContainer, Canary: seed(p)}
			t.ended[cid] = c.State.Terminated != nil
		}
	}
	if unstarted(p) {
		t.starting[string(p.UID)] = true
	}
	t.tell()
}

// seed reads the pod's from what its trusted container is told.
func seed(p *corev1.Pod) *canary.Seed {
	for _, c := range p.Spec.InitContainers {
		for _, v := range c.Env {
			if v.Name != canary.SeedEnv {
				continue
			}
			if s, err := canary.ParseSeed(v.Value); err == nil {
				return &s
			}
		}
	}
	return nil
}

// Delete takes in that a pod is gone: its containers have ended.
func (t *Table) Delete(p *corev1.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.starting, string(p.UID))
	if old := t.pods[string(p.UID)]; old != nil {
		for _, list := range [][]corev1.ContainerStatus{old.Status.InitContainerStatuses, old.Status.ContainerStatuses} {
			for _, c := range list {
				cid := bareID(c.ContainerID)
				delete(t.byID, cid)
				delete(t.ended, cid)
			}
		}
		delete(t.pods, string(p.UID))
	}
	t.tell()
}

// Listed says that all pods there were are Set.
func (t *Table) Listed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listed {
		return
	}
	t.listed = true
	for id, c := range t.byID {
		if c.Judged && !t.ended[id] {
			t.running = append(t.running, c)
		}
	}
	t.tell()
}

// tell wakes whoever waits. The caller holds mu.
func (t *Table) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Await implements Pods.
func (t *Table) Await(ctx context.Context, id string) (Container, bool) {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	stranger := time.NewTimer(strangerTimeout)
	defer stranger.Stop()
	waited := false
	for {
		t.mu.Lock()
		c, ok := t.byID[id]
		hope, changed := len(t.starting) > 0 || !t.listed, t.changed
		t.mu.Unlock()
		if ok || (waited && !hope) {
			return c, ok
		}
		select {
		case <-changed:
		case <-stranger.C:
			waited = true
		case <-ctx.Done():
			return Container{}, false
		}
	}
}

// Ended implements Pods.
func (t *Table) Ended(ctx context.Context, id string) bool {
	for {
		t.mu.Lock()
		_, known := t.byID[id]
		ended, changed := t.ended[id] || !known, t.changed
		t.mu.Unlock()
		if ended {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Running implements Pods.
func (t *Table) Running(ctx context.Context) ([]Container, error) {
	for {
		t.mu.Lock()
		listed, running, changed := t.listed, t.running, t.changed
		t.mu.Unlock()
		if listed {
			return running, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// unstarted reports whether containers of a pod are still to come.
func unstarted(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	started := 0
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			if c.ContainerID != "" {
				started++
			}
		}
	}
	return started < len(p.Spec.InitContainers)+len(p.Spec.Containers)
}

// bareID is a container's ID without its runtime: "containerd://ID".
func bareID(s string) string {
	_, id, ok := strings.Cut(s, "://")
	if !ok {
		return ""
	}
	return id
}
