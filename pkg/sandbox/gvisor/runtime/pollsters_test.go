package runtime

import "testing"

func TestPollsters(t *testing.T) {
	p := newPollsters()
	p.forked(1, 2)
	p.executed(2, "/usr/bin/node")
	p.forked(2, 3) // a package's
	p.executed(3, "/usr/bin/sleep")
	p.forked(1, 4) // a subshell
	p.forked(4, 5)
	p.executed(5, "/usr/bin/sleep")
	p.forked(1, 6)
	p.executed(6, "/tmp/sleep")
	p.forked(1, 7)
	p.ended(7)
	p.forked(1, 1) // a thread
	for id, want := range map[int32]bool{0: false, 1: true, 2: false, 3: false, 4: true, 5: true, 6: false, 7: false} {
		if got := p.has(id); got != want {
			t.Errorf("process %d is a pollster: %v, want %v", id, got, want)
		}
	}
}
