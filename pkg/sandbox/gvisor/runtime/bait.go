package runtime

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/canary/leak"
)

// bait is what looks for the scan's canaries; it holds nil where there are
// none. Like options it has to be the package's, and it is set once: before the
// first task runs, or when a pod's trusted container starts.
var bait atomic.Pointer[func() *leak.Watch]

// setBait has canaries looked for from now on. They are made on the side; who
// needs them first waits for them. A second seed changes nothing.
func setBait(seed canary.Seed) {
	watch := sync.OnceValue(func() *leak.Watch { return leak.New(canary.New(seed)) })
	if bait.CompareAndSwap(nil, &watch) {
		go watch()
	}
}

// baited is nil where there are no canaries.
func baited() *leak.Watch {
	if f := bait.Load(); f != nil {
		return (*f)()
	}
	return nil
}

// baitFrom takes the seed from the environment that a pod's trusted container
// is given. What runs later in the pod finds it set.
func baitFrom(env []string) {
	for _, e := range env {
		if text, ok := strings.CutPrefix(e, canary.SeedEnv+"="); ok {
			if seed, err := canary.ParseSeed(text); err == nil {
				setBait(seed)
			}
		}
	}
}
