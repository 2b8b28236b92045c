package runtime

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/ktime"
	sentrytime "gvisor.dev/gvisor/pkg/sentry/time"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// TestFields finds the fields of gVisor's that have no methods. Where a newer
// gVisor names them otherwise, clocks stay as they are and sandboxes show it.
func TestFields(t *testing.T) {
	for name, ok := range map[string]bool{
		"Timekeeper.clocks":   found[sentrytime.Clocks](&kernel.Timekeeper{}, "clocks"),
		"Timekeeper.bootTime": found[ktime.Time](&kernel.Timekeeper{}, "bootTime"),
		"Kernel.vdsoParams":   found[*kernel.VDSOParamPage](&kernel.Kernel{}, "vdsoParams"),
		"Task.blockingTimer":  found[*ktime.SampledTimer](&kernel.Task{}, "blockingTimer"),
		"a file's data":       found[vfs.DynamicBytesSource](&vfs.DynamicBytesFileDescriptionImpl{}, "data"),
	} {
		if !ok {
			t.Errorf("%s: not there, or of another type", name)
		}
	}
	if found[int](&kernel.Task{}, "blockingTimer") || found[int](&kernel.Task{}, "none") {
		t.Error("a field is found that is not there")
	}
}

func found[T any](of any, name string) bool {
	_, ok := field[T](of, name)
	return ok
}

// stopped is a clock source that stands at one second.
type stopped struct{ sentrytime.Clocks }

func (stopped) GetTime(sentrytime.ClockID) (int64, error) { return 1e9, nil }

func (stopped) Update(bool) sentrytime.UpdateResult {
	p := sentrytime.Parameters{BaseCycles: 7, BaseRef: 1e9, Frequency: 1e9}
	return sentrytime.UpdateResult{Monotonic: p, MonotonicOk: true, Realtime: p, RealtimeOk: true}
}

// TestClocksAgree compares what system calls are told with what the vDSO is.
func TestClocksAgree(t *testing.T) {
	defer skipped.Store(0)
	c := &clocks{Clocks: stopped{}, uptime: 100e9}
	for _, skip := range []int64{0, 3600e9} {
		skipped.Store(skip)
		vdso := c.Update(false)
		for id, tt := range map[sentrytime.ClockID]struct {
			vdso sentrytime.Parameters
			want int64
		}{
			sentrytime.Monotonic: {vdso.Monotonic, 101e9 + skip},
			sentrytime.Realtime:  {vdso.Realtime, 1e9 + skip},
		} {
			now, err := c.GetTime(id)
			if err != nil || now != tt.want || int64(tt.vdso.BaseRef) != tt.want || tt.vdso.BaseCycles != 7 {
				t.Errorf("clock %v, skipped %d: %d and %+v, want %d (%v)", id, skip, now, tt.vdso, tt.want, err)
			}
		}
	}
}

func TestMounts(t *testing.T) {
	o := GuiseOptions{Layers: strings.Repeat("0123456789abcdef", 4)}
	table := "none / overlay rw 0 0\nnone /dev dev rw,mode=0755 0 0\nnone /usr 9p ro,nosuid,trans=fd 0 0\nnone /root/.npm/_cacache overlay rw 0 0\n" +
		"none /builds/project overlay rw,nosuid 0 0\nnone /mnt tmpfs rw 0 0\nshort\n"
	got := mounts(table, o)
	want := "tmpfs /dev tmpfs rw,nosuid,size=65536k,mode=755,inode64 0 0\n/dev/sda1 /builds/project ext4 rw,relatime,discard,errors=remount-ro 0 0\ntmpfs /mnt tmpfs rw,relatime 0 0\n"
	if first, rest, _ := strings.Cut(got, "\n"); !strings.HasPrefix(first, "overlay / overlay rw,relatime,lowerdir=") || rest != want {
		t.Errorf("%s\nwant after the first line\n%s", got, want)
	}
	got = mountInfo("18 17 0:20 / / rw - overlay none rw\n22 18 0:23 / /usr ro,nosuid - 9p none ro,trans=fd\n23 18 0:24 / /proc rw - proc none rw,dentry_cache_limit=1000\nshort\n", o)
	if !strings.HasPrefix(got, "18 17 0:20 / / rw,relatime - overlay overlay rw,lowerdir=") || !strings.HasSuffix(got, "\n23 18 0:24 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n") || strings.Contains(got, "/usr") {
		t.Errorf("mountinfo:\n%s", got)
	}
}

func TestEdits(t *testing.T) {
	g := &guise{}
	for name, want := range map[string]bool{
		"/version": true, "/7/mounts": true, "/7/task/8/mountinfo": true, "/sys/kernel/osrelease": true, "/7/cgroup": true,
		"/7/status": false, "/sys/vm/version": false, "/net/mounts": false, "/": false, "": false, "/sys/kernel/": false, "/irq/mounts": false,
	} {
		if got := g.edits(name) != nil; got != want {
			t.Errorf("%q is edited: %v, want %v", name, got, want)
		}
	}
}

// TestMemory keeps the file's form whatever is in it.
func TestMemory(t *testing.T) {
	got := memory(nil, "MemTotal:       24684084 kB\nMemFree:        24680692 kB\nMemAvailable:   100 kB\nBuffers:               0 kB\nDirty: 7 kB\nMemFree: none\n")
	want := "MemTotal:       24684084 kB\nMemFree:        10363972 kB\nMemAvailable:          0 kB\nBuffers:          493680 kB\nDirty: 7 kB\nMemFree: none\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

type loop struct{ bytes.Buffer }

func (*loop) Close() error { return nil }

func TestTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moved := newTraffic()
		if moved.busy() {
			t.Error("busy without a connection")
		}
		conn := moved.watch(&loop{})
		time.Sleep(settle - time.Second)
		if !moved.busy() {
			t.Error("not busy while an answer is due")
		}
		_, _ = io.WriteString(conn, "GET /")
		time.Sleep(settle - time.Second)
		if !moved.busy() {
			t.Error("not busy soon after a write")
		}
		time.Sleep(2 * time.Second)
		if moved.busy() {
			t.Error("busy for ever")
		}
		_, _ = conn.Read(make([]byte, 1))
		if !moved.busy() {
			t.Error("not busy after a read")
		}
		_, _ = conn.Close(), conn.Close()
		if moved.busy() || moved.open.Load() != 0 {
			t.Error("busy after the end")
		}
	})
}
