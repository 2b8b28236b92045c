package serve

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestFinishWaits has a server that is stopped wait for what goes on beside its
// requests, and no longer than its drain.
func TestFinishWaits(t *testing.T) {
	for name, takes := range map[string]time.Duration{"in time": 50 * time.Millisecond, "too long": time.Hour} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			stop()
			c := Config{Listener: ln, Drain: 200 * time.Millisecond}
			done := false
			Finish(func(ctx context.Context) {
				select {
				case <-time.After(takes):
					done = true
				case <-ctx.Done():
				}
			})(&c)
			if err := Run(ctx, c); err != nil {
				t.Fatal(err)
			}
			if done != (name == "in time") {
				t.Errorf("finished: %v", done)
			}
		})
	}
}
