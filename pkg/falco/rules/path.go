package rules

import "strings"

// pathTree holds the paths of a pmatch, component by component: a value is
// looked up in one walk, however many paths there are.
type pathTree struct {
	end   bool // a path ends here: everything below matches
	plain map[string]*pathTree
	globs []globBranch
}

type globBranch struct {
	pattern string
	glob    *glob
	next    *pathTree
}

// pathMatcher implements pmatch: one of the paths is the value or a directory
// above it. A component may be a glob.
func pathMatcher(paths []string) (matcher, int, string) {
	root := &pathTree{}
	for i, p := range paths {
		if reason := root.add(p); reason != "" {
			return nil, i, reason
		}
	}
	return func(v Value) bool { return root.match(v.str) }, 0, ""
}

func (t *pathTree) add(path string) (reason string) {
	for _, c := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if strings.ContainsAny(c, "?*[") {
			if t, reason = t.branch(c); reason != "" {
				return reason
			}
			continue
		}
		next := t.plain[c]
		if next == nil {
			next = &pathTree{}
			if t.plain == nil {
				t.plain = map[string]*pathTree{}
			}
			t.plain[c] = next
		}
		t = next
	}
	t.end = true
	return ""
}

func (t *pathTree) branch(pattern string) (*pathTree, string) {
	for _, b := range t.globs {
		if b.pattern == pattern {
			return b.next, ""
		}
	}
	g, reason := newGlob(pattern, false)
	if reason != "" {
		return nil, reason
	}
	next := &pathTree{}
	t.globs = append(t.globs, globBranch{pattern, g, next})
	return next, ""
}

// match follows every branch that fits; their number is the rules' choice, not
// the value's.
func (t *pathTree) match(rest string) bool {
	if t.end {
		return true
	}
	rest = strings.TrimLeft(rest, "/")
	if rest == "" {
		return false
	}
	c, rest, _ := strings.Cut(rest, "/")
	if next := t.plain[c]; next != nil && next.match(rest) {
		return true
	}
	for _, b := range t.globs {
		if b.glob.match(c) && b.next.match(rest) {
			return true
		}
	}
	return false
}
