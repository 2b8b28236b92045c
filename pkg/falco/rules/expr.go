package rules

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
)

// digest identifies an expression by what it means: layout, list and macro
// names leave no trace in it.
type digest [sha256.Size]byte

func digestOf(parts ...string) digest {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(strconv.Itoa(len(p)) + ":" + p)) // a hash never fails to write
	}
	return digest(h.Sum(nil))
}

type exprKind uint8

const (
	exprTrue exprKind = iota
	exprFalse
	exprAnd
	exprOr
	exprNot
	exprCheck
)

// expr is a resolved, typed condition: lists and macros expanded, fields bound.
// It is immutable, so macros are shared, not copied.
type expr struct {
	kind exprKind
	kids []*expr
	key  digest
	size int // nodes if written out, macros included
	cost int // rough price of evaluation, to order operands

	typed  bool              // some check in it is on evt.type alone
	eval   func(Event) bool  // of a check
	byType func(string) bool // of a check on evt.type alone
}

var (
	alwaysTrue  = &expr{kind: exprTrue, size: 1, key: digestOf("true")}
	alwaysFalse = &expr{kind: exprFalse, size: 1, key: digestOf("false")}
)

func newNot(e *expr) *expr {
	switch e.kind {
	case exprTrue:
		return alwaysFalse
	case exprFalse:
		return alwaysTrue
	case exprNot:
		return e.kids[0]
	}
	return &expr{kind: exprNot, kids: []*expr{e}, key: digestOf("not", string(e.key[:])), size: e.size + 1, cost: e.cost, typed: e.typed}
}

// newJunction joins operands, drops what doesn't matter, and puts cheap ones
// first; operands have no side effects, so their order is free.
func newJunction(kind exprKind, operands []*expr) *expr {
	neutral, absorbing := exprTrue, exprFalse
	if kind == exprOr {
		neutral, absorbing = exprFalse, exprTrue
	}
	var kids []*expr
	seen := map[digest]bool{}
	for _, o := range operands {
		flat := []*expr{o}
		if o.kind == kind {
			flat = o.kids
		}
		for _, k := range flat {
			switch {
			case k.kind == absorbing:
				return k
			case k.kind == neutral || seen[k.key]:
			default:
				seen[k.key] = true
				kids = append(kids, k)
			}
		}
	}
	switch len(kids) {
	case 0:
		if kind == exprOr {
			return alwaysFalse
		}
		return alwaysTrue
	case 1:
		return kids[0]
	}
	slices.SortStableFunc(kids, func(a, b *expr) int { return cmp.Compare(a.cost, b.cost) })
	e := &expr{kind: kind, kids: kids, size: 1}
	keys := []string{strconv.Itoa(int(kind))}
	for _, k := range kids {
		keys = append(keys, string(k.key[:]))
		e.size += k.size
		e.cost += k.cost
		e.typed = e.typed || k.typed
	}
	slices.Sort(keys[1:])
	e.key = digestOf(keys...)
	return e
}

// specialise simplifies e for events of one type. It is exact: what remains is
// true for an event of that type if and only if e is.
func specialise(e *expr, evtType string, memo map[*expr]*expr) *expr {
	if !e.typed {
		return e
	}
	if done, ok := memo[e]; ok {
		return done
	}
	out := e
	switch e.kind {
	case exprNot:
		out = newNot(specialise(e.kids[0], evtType, memo))
	case exprAnd, exprOr:
		kids := make([]*expr, len(e.kids))
		for i, k := range e.kids {
			kids[i] = specialise(k, evtType, memo)
		}
		out = newJunction(e.kind, kids)
	case exprCheck:
		out = alwaysFalse
		if e.byType(evtType) {
			out = alwaysTrue
		}
	}
	memo[e] = out
	return out
}

// Prices of checks, relative to comparing a number.
const (
	costNumber   = 1
	costString   = 2
	costSearch   = 6
	costRegex    = 60
	costAncestor = 40 // times the check's own price
)

func priceOf(op string, typ Type) int {
	switch {
	case typ != String:
		return costNumber
	case op == "regex":
		return costRegex
	case op == "pmatch":
		return 4 * costSearch
	case strings.HasSuffix(op, "contains"), strings.HasSuffix(op, "glob"):
		return costSearch
	}
	return costString
}
