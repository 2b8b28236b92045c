package runtime

import (
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/ktime"
	sentrytime "gvisor.dev/gvisor/pkg/sentry/time"
)

// clocks are gVisor's clocks, put forward. Everything in the sandbox that tells
// the time reads it here: system calls, timers, files' times and, through the
// parameters of Update, the vDSO. So they always agree.
type clocks struct {
	sentrytime.Clocks
	uptime int64 // ns that the monotonic clock is ahead from the beginning
}

// skipped is by how many ns all clocks were put forward since. Points take it
// off their times, so it has to be the package's, as options is.
var skipped atomic.Int64

var _ sentrytime.Clocks = (*clocks)(nil)

func (c *clocks) ahead(id sentrytime.ClockID) int64 {
	if id == sentrytime.Realtime {
		return skipped.Load()
	}
	return c.uptime + skipped.Load()
}

// GetTime implements sentrytime.Clocks.
func (c *clocks) GetTime(id sentrytime.ClockID) (int64, error) {
	now, err := c.Clocks.GetTime(id)
	return now + c.ahead(id), err
}

// Update implements sentrytime.Clocks.
func (c *clocks) Update(parked bool) sentrytime.UpdateResult {
	r := c.Clocks.Update(parked)
	r.Monotonic.BaseRef += sentrytime.ReferenceNS(c.ahead(sentrytime.Monotonic))
	r.MonotonicRaw.BaseRef += sentrytime.ReferenceNS(c.ahead(sentrytime.MonotonicRaw))
	r.Realtime.BaseRef += sentrytime.ReferenceNS(c.ahead(sentrytime.Realtime))
	return r
}

// installClocks puts clocks of ours before those of k, nil where gVisor is not
// the one that we know. The time keeper rests meanwhile, and the one task there
// is waits for us, so nobody reads a clock.
func installClocks(k *kernel.Kernel, uptimeS int64) *clocks {
	keeper := k.Timekeeper()
	source, ok := field[sentrytime.Clocks](keeper, "clocks")
	boot, okBoot := field[ktime.Time](keeper, "bootTime")
	if _, okParams := vdsoParams(k); !ok || !okBoot || !okParams {
		return nil
	}
	c := &clocks{Clocks: *source, uptime: uptimeS * int64(time.Second)}
	change(k, func() {
		*source = c
		*boot = boot.Add(-time.Duration(c.uptime))
	})
	return c
}

// change lets f change the clocks, and tells the vDSO and the network's timers.
// It must not be called by two at a time.
func change(k *kernel.Kernel, f func()) {
	params, _ := vdsoParams(k)
	k.Timekeeper().Pause()
	f()
	k.Timekeeper().Resume(*params)
}

func vdsoParams(k *kernel.Kernel) (**kernel.VDSOParamPage, bool) {
	return field[*kernel.VDSOParamPage](k, "vdsoParams")
}

// blockingTimer is the timer of a task that waits with a timeout.
func blockingTimer(t *kernel.Task) (*ktime.SampledTimer, bool) {
	p, ok := field[*ktime.SampledTimer](t, "blockingTimer")
	if !ok || *p == nil {
		return nil, false
	}
	return *p, true
}

// field is a field of one of gVisor's structs that it has no method for, false
// if there is none of that name and type (TestFields).
func field[T any](of any, name string) (*T, bool) {
	f := reflect.ValueOf(of).Elem().FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return nil, false
	}
	return (*T)(unsafe.Pointer(f.UnsafeAddr())), true
}
