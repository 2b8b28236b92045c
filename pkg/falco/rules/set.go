package rules

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Rule is a loaded rule.
type Rule struct {
	Name       string
	Desc       string
	Priority   finding.Priority
	Tags       []string
	EventTypes []string // the event types it can match, sorted
	Position   Position

	cond   *expr
	output *template
	source string // the output as written
}

// Set is a compiled set of rules.
type Set struct {
	rules    []*Rule
	notes    []Note
	version  string
	programs map[string]*program
	generic  *program // for event types that were not declared
}

// Load compiles files, in order: later files may override earlier ones. The
// error has Kind fault.Invalid and joins an *Error for each reason, at most
// MaxErrors; then no Set is returned.
func Load(fields Fields, files ...File) (*Set, error) {
	l := &loader{cat: &catalogue{lists: map[string]*listDef{}, macros: map[string]*macroDef{}, rules: map[string]*ruleDef{}}}
	if len(files) > MaxFiles {
		return nil, fault.Errorf(fault.Invalid, "rules: more than %d files", MaxFiles)
	}
	for i := range files {
		l.collect(&files[i])
	}
	set := l.compile(fields)
	if len(l.errs) == 0 {
		return set, nil
	}
	if len(l.errs) > MaxErrors {
		l.errs = append(l.errs[:MaxErrors], fmt.Errorf("and %d more errors", len(l.errs)-MaxErrors))
	}
	return nil, fault.New("load rules", fault.Invalid, errors.Join(l.errs...))
}

// loader gathers definitions and all errors.
type loader struct {
	cat      *catalogue
	errs     []error
	reported map[string]bool
}

// fail records an error once: a macro's error comes up in each rule that uses it.
func (l *loader) fail(err error) {
	if l.reported == nil {
		l.reported = map[string]bool{}
	}
	for _, e := range flatten(err) {
		if !l.reported[e.Error()] {
			l.reported[e.Error()] = true
			l.errs = append(l.errs, e)
		}
	}
}

// join joins errors without repetition: a macro's errors come back from each
// reference to it, and references nest.
func join(errs ...error) error {
	var all []error
	for _, err := range errs {
		if err == nil {
			continue
		}
		for _, e := range flatten(err) {
			if !slices.Contains(all, e) && len(all) < MaxErrors {
				all = append(all, e)
			}
		}
	}
	return errors.Join(all...)
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func (l *loader) collect(f *File) {
	items, errs := readItems(f)
	for _, err := range errs {
		l.fail(err)
	}
	for i := range items {
		if l.cat.index >= MaxItems {
			l.fail(f.errorf(items[i].node, "more than %d items", MaxItems))
			return
		}
		if err := l.cat.add(&items[i]); err != nil {
			l.fail(err)
		}
	}
}

func (l *loader) compile(fields Fields) *Set {
	r := newResolver(l.cat, fields)
	s := &Set{}
	for _, def := range l.cat.order {
		rule, err := r.rule(def)
		if err != nil && def.skip && onlyUnknown(err) {
			l.cat.note(def.pos, "rule %q is skipped: %s", def.name, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		if err != nil {
			l.fail(err)
			continue
		}
		if len(rule.EventTypes) == len(fields.EventTypes()) && !def.quiet {
			l.cat.note(def.pos, "rule %q matches every evt.type, which is slow: restrict it, or set warn_evttypes: false", def.name)
		}
		if def.enabled {
			s.rules = append(s.rules, rule)
		}
	}
	l.checkUnused(r)
	s.notes = l.cat.notes
	s.version = versionOf(s.rules)
	s.link(fields.EventTypes())
	return s
}

// checkUnused parses macros no rule uses, so that mistakes in them show, and notes them.
func (l *loader) checkUnused(r *resolver) {
	for _, name := range sortedKeys(l.cat.macros) {
		if m := l.cat.macros[name]; !r.used["macro "+name] {
			if _, err := parseCondition(m.cond); err != nil {
				l.fail(err)
			}
			l.cat.note(m.pos, "macro %q is not used", name)
		}
	}
	for _, name := range sortedKeys(l.cat.lists) {
		if !r.used["list "+name] {
			l.cat.note(l.cat.lists[name].pos, "list %q is not used", name)
		}
	}
}

func onlyUnknown(err error) bool {
	return !slices.ContainsFunc(flatten(err), func(e error) bool {
		var re *Error
		return !errors.As(e, &re) || !re.unknown
	})
}

// rule resolves a definition: exceptions, condition, output, event types.
func (r *resolver) rule(def *ruleDef) (*Rule, error) {
	cond, err := def.condition()
	if err != nil {
		return nil, err
	}
	e, err := r.resolve(cond, anyIndex)
	if errors.Is(err, errTooLarge) {
		err = &Error{Position: def.pos, Reason: fmt.Sprintf("the condition of rule %q %s", def.name, errTooLarge)}
	}
	out, outErr := r.output(def.output)
	if err = join(err, outErr); err != nil {
		return nil, err
	}
	rule := &Rule{Name: def.name, Desc: strings.TrimSpace(def.desc), Priority: def.priority, Tags: def.tags,
		Position: def.pos, cond: e, output: out, source: strings.TrimSpace(def.output.s)}
	for _, t := range r.fields.EventTypes() {
		if specialise(e, t, map[*expr]*expr{}).kind != exprFalse {
			rule.EventTypes = append(rule.EventTypes, t)
		}
	}
	slices.Sort(rule.EventTypes)
	if len(rule.EventTypes) == 0 {
		return nil, &Error{Position: place{def.cond, 0}.position(),
			Reason: fmt.Sprintf("the condition of rule %q can't be true for any evt.type this source emits", def.name)}
	}
	return rule, nil
}

// condition is "(condition) and not exception and not exception ...".
func (def *ruleDef) condition() (node, error) {
	n, err := parseCondition(def.cond)
	if err != nil {
		return nil, err
	}
	all := &junction{and: true, kids: []node{n}}
	for _, ex := range def.exceptions {
		excluded, err := ex.condition()
		if err != nil {
			return nil, err
		}
		if excluded != nil {
			all.kids = append(all.kids, &negation{kid: excluded})
		}
	}
	return all, nil
}

// Rules returns the enabled rules in order of definition. The caller must not
// change them.
func (s *Set) Rules() []*Rule { return s.rules }

// Notes returns what is legal but perhaps not intended.
func (s *Set) Notes() []Note { return s.notes }

// Version identifies what the enabled rules mean: 16 hexadecimal digits over
// names, priorities, tags, outputs and conditions with lists and macros
// expanded. Comments, layout and the order of files don't change it.
func (s *Set) Version() string { return s.version }

func versionOf(all []*Rule) string {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	parts := []string{"falconer rules 1"}
	for _, r := range sorted {
		tags := slices.Sorted(slices.Values(r.Tags))
		parts = append(parts, r.Name, r.Priority.String(), strconv.Itoa(len(tags)))
		parts = append(parts, tags...)
		parts = append(parts, r.source, string(r.cond.key[:]))
	}
	d := digestOf(parts...)
	return hex.EncodeToString(d[:8])
}
