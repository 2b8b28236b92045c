package rules

import "sync"

// program evaluates the rules that can match one event type.
type program struct {
	rules []linked
	slots int // shared expressions, each evaluated at most once an event
	runs  *sync.Pool
}

type linked struct {
	rule *Rule
	eval evaluator
}

// run is the state of evaluating one event.
type run struct {
	ev   Event
	memo []uint8 // per slot: 0 not yet known, else false or true
}

const (
	knownFalse uint8 = 1
	knownTrue  uint8 = 2
)

type evaluator func(*run) bool

// Match is a rule that an event matched. Output and Fields read the event, so
// they must be called while the event is still valid.
type Match struct {
	Rule *Rule
	ev   Event
}

// Output renders the rule's output; absent values read <NA>. Falco's JSON puts
// the time and the priority before it.
func (m Match) Output() string { return m.Rule.output.render(m.ev) }

// Fields returns the fields that the output names, by the name they are written
// with ("proc.aname[2]"): string, int64 or bool, nil if absent.
func (m Match) Fields() map[string]any {
	out := make(map[string]any, len(m.Rule.output.parts)/2)
	for i := range m.Rule.output.parts {
		if p := &m.Rule.output.parts[i]; p.name != "" {
			out[p.name] = p.json(m.ev)
		}
	}
	return out
}

// Match returns the rules that ev matches, in order of definition; nil if none.
func (s *Set) Match(ev Event) []Match {
	p, ok := s.programs[ev.Type()]
	if !ok {
		p = s.generic
	}
	if len(p.rules) == 0 {
		return nil
	}
	r := p.runs.Get().(*run)
	r.ev = ev
	clear(r.memo)
	var matched []Match
	for i := range p.rules {
		if p.rules[i].eval(r) {
			matched = append(matched, Match{Rule: p.rules[i].rule, ev: ev})
		}
	}
	r.ev = nil
	p.runs.Put(r)
	return matched
}

// link builds a program for each event type, and one without knowledge of it.
func (s *Set) link(types []string) {
	s.programs = make(map[string]*program, len(types))
	for _, t := range types {
		memo := map[*expr]*expr{}
		s.programs[t] = newProgram(s.rules, func(e *expr) *expr { return specialise(e, t, memo) })
	}
	s.generic = newProgram(s.rules, func(e *expr) *expr { return e })
}

func newProgram(all []*Rule, simplify func(*expr) *expr) *program {
	uses := map[digest]int{}
	conds := make([]*expr, len(all))
	for i, r := range all {
		conds[i] = simplify(r.cond)
		countUses(conds[i], uses)
	}
	c := &codegen{uses: uses, slots: map[digest]int{}, done: map[digest]evaluator{}}
	p := &program{}
	for i, r := range all {
		if conds[i].kind != exprFalse {
			p.rules = append(p.rules, linked{r, c.compile(conds[i])})
		}
	}
	p.slots = len(c.slots)
	p.runs = &sync.Pool{New: func() any { return &run{memo: make([]uint8, p.slots)} }}
	return p
}

// countUses counts how often each expression would be evaluated; what is below
// a repeated one counts once.
func countUses(e *expr, uses map[digest]int) {
	if uses[e.key]++; uses[e.key] > 1 {
		return
	}
	for _, k := range e.kids {
		countUses(k, uses)
	}
}

// memoCost is the price from which remembering a shared expression pays.
const memoCost = 4

type codegen struct {
	uses  map[digest]int
	slots map[digest]int
	done  map[digest]evaluator
}

func (c *codegen) compile(e *expr) evaluator {
	if f, ok := c.done[e.key]; ok {
		return f
	}
	f := c.plain(e)
	if c.uses[e.key] > 1 && e.cost >= memoCost {
		f = c.remember(e.key, f)
	}
	c.done[e.key] = f
	return f
}

func (c *codegen) remember(key digest, f evaluator) evaluator {
	slot := len(c.slots)
	c.slots[key] = slot
	return func(r *run) bool {
		switch r.memo[slot] {
		case knownFalse:
			return false
		case knownTrue:
			return true
		}
		if f(r) {
			r.memo[slot] = knownTrue
			return true
		}
		r.memo[slot] = knownFalse
		return false
	}
}

func (c *codegen) plain(e *expr) evaluator {
	switch e.kind {
	case exprFalse:
		return func(*run) bool { return false }
	case exprNot:
		kid := c.compile(e.kids[0])
		return func(r *run) bool { return !kid(r) }
	case exprAnd, exprOr:
		kids := make([]evaluator, len(e.kids))
		for i, k := range e.kids {
			kids[i] = c.compile(k)
		}
		stop := e.kind == exprOr // the first operand that is this decides
		return func(r *run) bool {
			for _, kid := range kids {
				if kid(r) == stop {
					return stop
				}
			}
			return !stop
		}
	case exprCheck:
		eval := e.eval
		return func(r *run) bool { return eval(r.ev) }
	}
	return func(*run) bool { return true }
}
