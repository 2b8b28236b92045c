package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// resolver turns parsed conditions into typed expressions.
type resolver struct {
	cat    *catalogue
	fields Fields
	types  map[string]bool // evt.type values the source emits
	lists  map[string]resolvedList
	macros map[string]*resolvedMacro
	used   map[string]bool // "list x", "macro y"
}

type resolvedList struct {
	values []string
	err    error
}

type resolvedMacro struct {
	done bool // false while being resolved: meeting it again is recursion
	expr *expr
	err  error
}

func newResolver(cat *catalogue, fields Fields) *resolver {
	r := &resolver{cat: cat, fields: fields, types: map[string]bool{},
		lists: map[string]resolvedList{}, macros: map[string]*resolvedMacro{}, used: map[string]bool{}}
	for _, t := range fields.EventTypes() {
		r.types[t] = true
	}
	return r
}

// anyIndex is the last index of definitions a rule's condition sees: all.
const anyIndex = int(^uint(0) >> 1)

// resolve checks and compiles n. seen is how far back definitions are visible.
// All of a condition's errors are joined.
func (r *resolver) resolve(n node, seen int) (*expr, error) {
	switch n := n.(type) {
	case *junction:
		kind := exprOr
		if n.and {
			kind = exprAnd
		}
		var kids []*expr
		var errs []error
		size := 1
		for _, kid := range n.kids {
			e, err := r.resolve(kid, seen)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if size += e.size; size > MaxTerms {
				return nil, errTooLarge
			}
			kids = append(kids, e)
		}
		if len(errs) > 0 {
			return nil, join(errs...)
		}
		return newJunction(kind, kids), nil
	case *negation:
		e, err := r.resolve(n.kid, seen)
		if err != nil {
			return nil, err
		}
		return newNot(e), nil
	case *macroRef:
		return r.macro(n, seen)
	case *comparison:
		return r.comparison(n)
	}
	return nil, errors.New("rules: unknown node")
}

var errTooLarge = fmt.Errorf("expands to more than %d terms", MaxTerms)

func (r *resolver) macro(ref *macroRef, seen int) (*expr, error) {
	def := r.cat.macros[ref.name]
	if def == nil {
		return nil, ref.at.errorf("undefined macro %q", ref.name)
	}
	if def.index >= seen {
		return nil, ref.at.errorf("macro %q is defined at %s, after its use here", ref.name, def.pos)
	}
	r.used["macro "+ref.name] = true
	if m := r.macros[ref.name]; m != nil {
		if !m.done {
			return nil, ref.at.errorf("macro %q refers to itself", ref.name)
		}
		return m.expr, m.err
	}
	m := &resolvedMacro{}
	r.macros[ref.name] = m
	n, err := parseCondition(def.cond)
	if err == nil {
		m.expr, err = r.resolve(n, def.seen)
	}
	if errors.Is(err, errTooLarge) {
		err = &Error{Position: def.pos, Reason: fmt.Sprintf("macro %q %s", def.name, errTooLarge)}
	}
	m.err, m.done = err, true
	return m.expr, m.err
}

// list returns a list's values; an item that names an earlier list stands for
// that list's values.
func (r *resolver) list(name string) ([]string, error) {
	r.used["list "+name] = true
	if l, ok := r.lists[name]; ok {
		return l.values, l.err
	}
	def := r.cat.lists[name]
	r.lists[name] = resolvedList{err: &Error{Position: def.pos, Reason: fmt.Sprintf("list %q contains itself", name)}}
	var l resolvedList
	for _, it := range def.items {
		inner := r.cat.lists[it.value]
		if it.quoted || inner == nil || inner == def {
			l.values = append(l.values, it.value)
			continue
		}
		if inner.index >= def.seen {
			l.err = &Error{Position: it.pos, Reason: fmt.Sprintf("list %q is defined at %s, after its use here", it.value, inner.pos)}
			break
		}
		values, err := r.list(it.value)
		if err != nil {
			l.err = err
			break
		}
		if l.values = append(l.values, values...); len(l.values) > MaxListItems {
			l.values, l.err = nil, &Error{Position: it.pos, Reason: fmt.Sprintf("list %q has more than %d items", name, MaxListItems)}
			break
		}
	}
	r.lists[name] = l
	return l.values, l.err
}

// expand replaces list names among the right-hand values.
func (r *resolver) expand(c *comparison) ([]literal, error) {
	var out []literal
	for _, lit := range c.right {
		_, isList := r.cat.lists[lit.value]
		switch {
		case lit.quoted || (!isList && !lit.inList):
			out = append(out, lit)
			continue
		case !isList:
			return nil, lit.at.errorf("undefined list %q", lit.value)
		case !isListOp(c.op):
			return nil, lit.at.errorf("%q is a list: use it with in, intersects or pmatch, or quote it", lit.value)
		}
		values, err := r.list(lit.value)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			out = append(out, literal{at: lit.at, value: v, quoted: true})
		}
		if len(out) > MaxListItems {
			return nil, lit.at.errorf("more than %d values", MaxListItems)
		}
	}
	return out, nil
}

// boundTerm is a term whose field is known.
type boundTerm struct {
	FieldInfo
	typ        Type // after transformers
	arg        string
	index      int
	any        bool // any ancestor
	transforms []string
}

func (r *resolver) bind(t *term) (boundTerm, error) {
	b := boundTerm{transforms: t.transforms}
	info, ok := r.fields.Lookup(t.field)
	if !ok {
		err := t.at.errorf("unknown field %q", t.field)
		if prefix, _, dot := strings.Cut(t.field, ".arg"); dot && prefix == "evt" {
			err.Reason += " (event arguments are named: evt.arg.flags)"
		}
		err.unknown = true
		return b, err
	}
	b.FieldInfo, b.typ = info, info.Type
	switch {
	case info.Arg == NoArg && t.hasArg:
		return b, t.at.errorf("field %q takes no argument", t.field)
	case info.Arg == Key && !t.hasArg:
		return b, t.at.errorf("field %q needs an argument: %s[NAME]", t.field, t.field)
	case info.Arg == Key:
		b.arg = t.arg
	case info.Arg == Ancestor && !t.hasArg:
		b.any = true
	case info.Arg == Ancestor:
		n, err := strconv.ParseUint(t.arg, 10, 16)
		if err != nil {
			return b, t.at.errorf("argument %.40q of field %q is not an ancestor's number", t.arg, t.field)
		}
		b.index = int(n)
	}
	if len(t.transforms) == 0 {
		return b, nil
	}
	if info.Arg == Ancestor {
		return b, t.at.errorf("field %q can't be transformed", t.field)
	}
	if b.typ, ok = transformed(t.transforms); !ok || info.Type != String {
		return b, t.at.errorf("transformers apply to strings; field %q is a %s here", t.field, info.Type)
	}
	return b, nil
}

// get reads the term from an event.
func (b *boundTerm) get(ev Event) (Value, bool) {
	v, ok := ev.Field(b.ID, b.arg, b.index)
	if !ok || len(b.transforms) == 0 {
		return v, ok
	}
	return transform(v, b.transforms)
}

func (b *boundTerm) identity() string {
	return fmt.Sprintf("%s\x00%s\x00%d\x00%t\x00%s", b.Name, b.arg, b.index, b.any, strings.Join(b.transforms, " "))
}

func (r *resolver) comparison(c *comparison) (*expr, error) {
	b, err := r.bind(&c.left)
	if err != nil {
		return nil, err
	}
	types, known := operators[c.op]
	if !known || !slices.Contains(types, b.typ) {
		return nil, c.opAt.errorf("operator %q does not apply to %q, a %s", c.op, c.left.name(), b.typ)
	}
	switch {
	case c.op == "exists":
		return r.check(c, b, "", nil, func(Value) bool { return true }), nil
	case c.from != nil:
		return r.fieldToField(c, b)
	}
	lits, err := r.expand(c)
	if err != nil {
		return nil, err
	}
	if isEventType(b) {
		if lits, err = r.checkEventTypes(c, lits); err != nil {
			return nil, err
		}
	}
	values := make([]string, len(lits))
	for i, l := range lits {
		values[i] = l.value
	}
	if len(values) == 0 {
		r.cat.note(c.at.position(), "compares %s with an empty list, which is never true", c.left.name())
		return alwaysFalse, nil
	}
	m, which, reason := newMatcher(c.op, b.typ, values)
	if reason != "" {
		return nil, lits[which].at.errorf("%.80q %s", lits[which].value, reason)
	}
	return r.check(c, b, c.op, values, m), nil
}

// check builds the leaf expression.
func (r *resolver) check(c *comparison, b boundTerm, op string, values []string, m matcher) *expr {
	norm := slices.Clone(values)
	if isListOp(c.op) {
		slices.Sort(norm)
		norm = slices.Compact(norm)
	}
	if op == "==" {
		op = "="
	}
	e := &expr{kind: exprCheck, size: 1, cost: priceOf(c.op, b.typ)}
	e.key = digestOf(append([]string{"check", b.identity(), op}, norm...)...)
	if b.any {
		e.cost *= costAncestor
		id, arg := b.ID, b.arg
		e.eval = func(ev Event) bool {
			for i, n := 1, ev.Ancestors(); i <= n; i++ {
				if v, ok := ev.Field(id, arg, i); ok && m(v) {
					return true
				}
			}
			return false
		}
		return e
	}
	if isEventType(b) {
		e.typed = true
		e.byType = func(t string) bool { return m(StringValue(t)) }
		e.eval = func(ev Event) bool { return m(StringValue(ev.Type())) }
		return e
	}
	e.eval = func(ev Event) bool {
		v, ok := b.get(ev)
		return ok && m(v)
	}
	return e
}

func (r *resolver) fieldToField(c *comparison, left boundTerm) (*expr, error) {
	right, err := r.bind(c.from)
	if err != nil {
		return nil, err
	}
	m := fieldMatcher(c.op)
	switch {
	case m == nil:
		return nil, c.opAt.errorf("operator %q takes no field on its right side", c.op)
	case left.Type == Net || left.Arg == Ancestor:
		return nil, c.at.errorf("field %q can't be compared with another field", c.left.name())
	case right.Type == Net || right.Arg == Ancestor:
		return nil, c.from.at.errorf("field %q can't stand on the right side", c.from.name())
	case left.typ != right.typ:
		return nil, c.from.at.errorf("%q is a %s, but %q is a %s", c.left.name(), left.typ, c.from.name(), right.typ)
	}
	e := &expr{kind: exprCheck, size: 1, cost: 2 * priceOf(c.op, left.typ)}
	e.key = digestOf("fields", left.identity(), c.op, right.identity())
	e.eval = func(ev Event) bool {
		l, ok := left.get(ev)
		if !ok {
			return false
		}
		v, ok := right.get(ev)
		return ok && m(l, v)
	}
	return e, nil
}

func isEventType(b boundTerm) bool {
	return (b.Name == "evt.type" || b.Name == "syscall.type") && len(b.transforms) == 0
}

// checkEventTypes refuses names that are no event types at all, and notes those
// the source never emits: a condition on them alone is refused later on.
func (r *resolver) checkEventTypes(c *comparison, lits []literal) ([]literal, error) {
	switch c.op {
	case "=", "==", "!=", "in", "intersects":
	default:
		return lits, nil
	}
	for _, l := range lits {
		switch {
		case r.types[l.value]:
		case knownEvent(l.value):
			r.cat.note(l.at.position(), "evt.type %q is not emitted by this source", l.value)
		default:
			err := l.at.errorf("unknown evt.type %.40q", l.value)
			err.unknown = true
			return nil, err
		}
	}
	return lits, nil
}
