package node

import "fmt"

// Problems gathers what makes a lockfile untrustworthy. Its zero value is
// ready to use.
type Problems struct {
	list     []string
	unlisted int // beyond MaxProblems
}

// Add notes a problem.
func (p *Problems) Add(format string, args ...any) {
	if len(p.list) >= MaxProblems {
		p.unlisted++
		return
	}
	p.list = append(p.list, fmt.Sprintf(format, args...))
}

// List returns the problems in the order in which they were found.
func (p *Problems) List() []string {
	if p.unlisted == 0 {
		return p.list
	}
	return append(p.list, fmt.Sprintf("and %d more problems like these", p.unlisted))
}
