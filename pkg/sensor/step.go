package sensor

import (
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// MaxImportFailures bounds the packages listed that could not be loaded.
const MaxImportFailures = 100

// loading is a process that loads packages after the install, a recipe's step:
// init starts it, and its marks say whose code runs in it. What it starts
// inherits the place of the moment.
type loading struct {
	step   *ecosystem.Step
	first  finding.Package
	any    bool // code of a package has run
	mixed  bool // code of more than one has: from now on any could make a mark
	at     int  // package being loaded, -1 for none
	done   int  // how many are: of what runs late it is said again that it runs
	loaded int
	failed []finding.ImportFailure
	more   int // failures beyond those listed
}

// stepOf returns the recipe's step that a command line is of, nil for none.
// Arguments may be cut, where records bound them.
func (t *table) stepOf(argv []string) *ecosystem.Step {
	for i := range t.steps {
		if s := &t.steps[i]; sameArgs(s.Argv, argv) {
			return s
		}
	}
	return nil
}

func sameArgs(want, got []string) bool {
	if len(want) != len(got) || len(want) == 0 {
		return false
	}
	for i := range want {
		if want[i] != got[i] && (len(got[i]) < record.MaxString || !strings.HasPrefix(want[i], got[i])) {
			return false
		}
	}
	return true
}

// begin makes p a recipe's step if it is one: a child of init, after the
// package manager, with that step's command line.
func (t *table) begin(p *Process) bool {
	if p.Parent == nil || !p.Parent.init || t.root == nil || p == t.root {
		return false
	}
	step := t.stepOf(p.Argv)
	if step == nil {
		return false
	}
	p.loading = &loading{step: step, at: -1}
	t.loads = append(t.loads, p)
	return true
}

// mark takes in what a loading process says of itself.
func (t *table) mark(p *Process, opened string) {
	m, ok := ecosystem.ParseMark(opened)
	if !ok {
		return
	}
	l := p.loading
	if m.State != ecosystem.MarkOwn && m.State != ecosystem.MarkIn && m.Index >= len(l.step.Packages) {
		return
	}
	switch m.State {
	case ecosystem.MarkRun:
		if m.Index >= l.done {
			l.at = m.Index
		}
		t.runs(p, l.step.Packages[m.Index])
	case ecosystem.MarkIn:
		if by, can := t.c.Manager.(ecosystem.Locator); can {
			if pkg, ok := by.Locate(t.c.Project, m.Dir, m.Version); ok {
				t.runs(p, pkg)
			}
		}
	case ecosystem.MarkOwn:
		p.placed, p.place = false, ecosystem.Place{Phase: l.step.Phase}
	case ecosystem.MarkLoaded:
		l.loaded++
		l.at, l.done = -1, max(l.done, m.Index+1)
	case ecosystem.MarkFailed:
		l.at, l.done = -1, max(l.done, m.Index+1)
		if len(l.failed) == MaxImportFailures {
			l.more++
			return
		}
		l.failed = append(l.failed, finding.ImportFailure{Package: l.step.Packages[m.Index], Reason: m.Reason})
	}
}

// runs says that code of pkg runs in p from now on.
func (t *table) runs(p *Process, pkg finding.Package) {
	l := p.loading
	switch {
	case !l.any:
		l.any, l.first = true, pkg
	case l.first != pkg:
		l.mixed = !l.step.Apart
	}
	p.placed, p.manager, p.claimed = true, false, l.mixed
	p.place = ecosystem.Place{Package: pkg, Phase: l.step.Phase}
}

// imports sums up what was loaded; nil if nothing was to be. problem says what
// was cut short.
func (t *table) imports() (sum *finding.Imports, problem string) {
	if len(t.loads) == 0 {
		return nil, ""
	}
	sum = &finding.Imports{}
	for _, p := range t.loads {
		l := p.loading
		sum.Loaded += l.loaded
		sum.Failed = append(sum.Failed, l.failed...)
		sum.Unlisted += l.more
		switch {
		case problem != "":
		case l.loaded+len(l.failed)+l.more == 0 && l.at < 0 && len(l.step.Packages) > 0:
			problem = "the packages were not loaded: the process that was to do it said nothing"
		case l.at >= 0:
			problem = "loading " + l.step.Packages[l.at].Name + " did not end, and what comes after it was not loaded"
		}
	}
	return sum, problem
}

// stepName stands for a step's command line: its script is ours, and long.
func (p *Process) stepName() string {
	return path.Base(p.loading.step.Argv[0]) + " (loads the project's packages)"
}

// phase is what the process belongs to.
func (p *Process) phase() string {
	if p.place.Phase != "" {
		return p.place.Phase
	}
	return "install"
}
