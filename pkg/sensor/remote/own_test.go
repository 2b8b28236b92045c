package remote_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote/remotetest"
)

// TestRecordedOwnPod reads the session of a pod whose runtime is Falconer's, on
// the trace session that a node has for stock gVisor: own-npm-ci.gz, in which a
// postinstall script does what stock gVisor has no point for.
func TestRecordedOwnPod(t *testing.T) {
	got, s, end := play(t, remotetest.Packets(t, "own-npm-ci.gz"))
	if !errors.Is(end, io.EOF) || !s.Ours() || s.Dropped() != 0 {
		t.Fatalf("%v, ours %v, dropped %d", end, s.Ours(), s.Dropped())
	}
	starts := map[string]int32{}
	seen := map[string]bool{}
	for _, m := range got {
		r := m.Record
		if m.Container == "" || m.Container != r.Container {
			t.Errorf("%s of container %q, %q", r.Kind, m.Container, r.Container)
		}
		if r.Kind == record.KindStart {
			starts[m.Container] = r.TGID
		} else if starts[m.Container] == 0 {
			t.Errorf("%s before the start of its container", r.Kind)
		}
		seen[strings.Join([]string{r.Kind, r.Path, r.Target}, " ")] = true
	}
	pids := map[int32]bool{}
	for _, pid := range starts {
		pids[pid] = true
	}
	if len(starts) != 3 || len(pids) != 3 {
		t.Errorf("containers and their first processes: %v", starts)
	}
	for _, want := range []string{
		"symlink /tmp/l /home/build/.ssh",
		"openat /home/build/.ssh/id_rsa ", // through the link
		"rename /home/build/.aws/credentials /home/build/.aws/taken",
		"chmod /tmp/x ",
		"unlink /tmp/x ",
		"openat /tmp/\xff ",
	} {
		if !seen[want] {
			t.Errorf("not seen: %q", want)
		}
	}
}
