package runtime

import (
	"path"
	"strings"
	"sync"
)

// initTGID is the sandbox's first process.
const initTGID = 1

// pollsters are the processes that watch over the others' time: the sandbox's
// first process, its subshells, and the system's sleep that those run. They are
// told by who started them, from the first on, so nobody else can be one.
type pollsters struct {
	mu  sync.Mutex
	ids map[int32]bool
}

func newPollsters() *pollsters { return &pollsters{ids: map[int32]bool{initTGID: true}} }

func (p *pollsters) has(id int32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids[id]
}

// forked tells that parent started child, which runs the same program.
func (p *pollsters) forked(parent, child int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if parent != child && p.ids[parent] {
		p.ids[child] = true
	}
}

// executed tells that id runs another program now.
func (p *pollsters) executed(id int32, program string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != initTGID && (path.Base(program) != "sleep" || !strings.HasPrefix(program, "/usr/")) {
		delete(p.ids, id)
	}
}

// ended tells that id is free again.
func (p *pollsters) ended(id int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ids, id)
}
