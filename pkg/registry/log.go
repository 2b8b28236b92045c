package registry

import (
	"sync"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// fetchLog collects fetches and problems, bounded. It is safe for concurrent
// use.
type fetchLog struct {
	mu       sync.Mutex
	fetches  []finding.Fetch
	unlisted int
	problems []string
}

// maxProblems bounds the problems kept; they repeat in the fetches.
const maxProblems = 100

func (l *fetchLog) fetch(f finding.Fetch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fetches) >= MaxFetches {
		l.unlisted++
		return
	}
	l.fetches = append(l.fetches, f)
}

func (l *fetchLog) problem(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, s)
	}
}

// list returns what was logged, in order of completion.
func (l *fetchLog) list() (fetches []finding.Fetch, unlisted int, problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]finding.Fetch(nil), l.fetches...), l.unlisted, append([]string(nil), l.problems...)
}
