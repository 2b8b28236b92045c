package rules

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// exception is one named exception of a rule: fields, operators and tuples of
// values for which the rule does not fire.
type exception struct {
	name   string
	file   *File
	node   *yaml.Node
	single bool // fields is one field, values are its values
	fields []*yaml.Node
	comps  []string
	values []*yaml.Node
}

func readExceptions(it *item, prev []*exception, add bool) ([]*exception, error) {
	n := it.keys["exceptions"]
	if n.Tag == "!!null" {
		return prev, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, it.file.errorf(n, "exceptions must be a sequence")
	}
	var out []*exception
	if add {
		out = slices.Clone(prev)
	}
	for _, node := range n.Content {
		keys, err := mapping(it.file, node)
		if err != nil {
			return nil, err
		}
		sub := &item{file: it.file, node: node, kind: "exception", keys: keys}
		if sub.name, err = sub.str("name"); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(e *exception) bool { return e.name == sub.name })
		e, err := newException(sub, i >= 0)
		switch {
		case err != nil:
			return nil, err
		case i < 0:
			out = append(out, e)
		case !add:
			return nil, it.file.errorf(node, "exception %q stands twice", sub.name)
		default:
			merged := *out[i]
			merged.values = append(slices.Clone(merged.values), e.values...)
			out[i] = &merged
		}
	}
	return out, nil
}

func newException(it *item, exists bool) (*exception, error) {
	e := &exception{name: it.name, file: it.file, node: it.node}
	for key, val := range it.keys {
		if !slices.Contains([]string{"name", "fields", "comps", "values"}, key) {
			return nil, it.file.errorf(val, "unknown key %.40q in an exception", key)
		}
		if exists && (key == "fields" || key == "comps") {
			return nil, it.file.errorf(val, "exception %q exists: only values can be appended", it.name)
		}
	}
	if v := it.keys["values"]; v != nil && v.Tag != "!!null" {
		if v.Kind != yaml.SequenceNode {
			return nil, it.file.errorf(v, "values must be a sequence")
		}
		e.values = v.Content
	}
	if exists {
		return e, nil
	}
	f := it.keys["fields"]
	switch {
	case f == nil:
		return nil, it.file.errorf(it.node, "exception %q lacks the key \"fields\"", it.name)
	case f.Kind == yaml.ScalarNode:
		e.single, e.fields = true, []*yaml.Node{f}
	default:
		nodes, err := scalars(it.file, f, "fields")
		if err != nil {
			return nil, err
		}
		if len(nodes) == 0 {
			return nil, it.file.errorf(f, "fields is empty")
		}
		e.fields = nodes
	}
	return e, e.readComps(it)
}

// readComps reads the operators; the defaults are "in" for a single field, "="
// for several.
func (e *exception) readComps(it *item) error {
	n := it.keys["comps"]
	if n == nil {
		op := "="
		if e.single {
			op = "in"
		}
		e.comps = slices.Repeat([]string{op}, len(e.fields))
		return nil
	}
	nodes := []*yaml.Node{n}
	if !e.single {
		var err error
		if nodes, err = scalars(it.file, n, "comps"); err != nil {
			return err
		}
	} else if n.Kind != yaml.ScalarNode {
		return it.file.errorf(n, "comps must be one operator, as fields is one field")
	}
	if len(nodes) != len(e.fields) {
		return it.file.errorf(n, "comps has %d operators for %d fields", len(nodes), len(e.fields))
	}
	for _, c := range nodes {
		op := strings.TrimSpace(c.Value)
		if _, ok := operators[op]; !ok || op == "exists" || (e.single && !isListOp(op)) {
			return it.file.errorf(c, "operator %.40q can't be used here", c.Value)
		}
		e.comps = append(e.comps, op)
	}
	return nil
}

// condition returns what the exception excludes, or nil if it has no values.
func (e *exception) condition() (node, error) {
	if len(e.values) == 0 {
		return nil, nil
	}
	if e.single {
		return e.comparison(0, e.values)
	}
	any := &junction{}
	for _, tuple := range e.values {
		if tuple.Kind != yaml.SequenceNode || len(tuple.Content) != len(e.fields) {
			return nil, e.file.errorf(tuple, "exception %q wants %d values, one a field", e.name, len(e.fields))
		}
		all := &junction{and: true}
		for i, v := range tuple.Content {
			values := []*yaml.Node{v}
			if v.Kind == yaml.SequenceNode {
				if !isListOp(e.comps[i]) {
					return nil, e.file.errorf(v, "operator %q takes one value, not a list", e.comps[i])
				}
				values = v.Content
			}
			c, err := e.comparison(i, values)
			if err != nil {
				return nil, err
			}
			all.kids = append(all.kids, c)
		}
		any.kids = append(any.kids, all)
	}
	return any, nil
}

func (e *exception) comparison(i int, values []*yaml.Node) (node, error) {
	t := newText(e.file, e.fields[i], e.fields[i].Value)
	p := &parser{text: t, s: t.s}
	left, err := p.term()
	if err != nil {
		return nil, err
	}
	if p.blank(); p.i < len(p.s) {
		return nil, p.unexpected("the end of the field")
	}
	c := &comparison{at: left.at, left: *left, op: e.comps[i], opAt: left.at}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode || v.Value == "" {
			return nil, e.file.errorf(v, "an exception's values must be plain and non-empty")
		}
		vt := newText(e.file, v, v.Value)
		lit := literal{at: place{vt, 0}, value: v.Value}
		if quotedItem.MatchString(v.Value) {
			s, reason := unescape(v.Value[1:len(v.Value)-1], v.Value[0])
			if reason != "" {
				return nil, e.file.errorf(v, "%s", reason)
			}
			lit.value, lit.quoted = s, true
		}
		c.right = append(c.right, lit)
	}
	return c, nil
}
