package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is one source of rules. Name appears in errors.
type File struct {
	Name string
	Data []byte
}

func (f *File) at(n *yaml.Node) Position {
	return Position{File: f.Name, Line: max(n.Line, 1), Column: max(n.Column, 1)}
}

func (f *File) errorf(n *yaml.Node, format string, args ...any) *Error {
	return &Error{Position: f.at(n), Reason: fmt.Sprintf(format, args...)}
}

// item is one entry of a rules file: a mapping with known keys.
type item struct {
	file *File
	node *yaml.Node
	kind string // "list", "macro", "rule", ...
	name string
	keys map[string]*yaml.Node
}

// The keys each kind of item may have; the first names the kind.
var itemKeys = map[string][]string{
	"list":  {"items", "append", "override"},
	"macro": {"condition", "append", "override"},
	"rule": {"desc", "condition", "output", "priority", "tags", "enabled", "exceptions", "source", "append", "override",
		"warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration"},
	"required_engine_version":  {},
	"required_plugin_versions": {},
}

// readItems decodes a file into items. Errors are per item: one bad rule does
// not hide the errors of the next.
func readItems(f *File) ([]item, []error) {
	if len(f.Data) > MaxFileBytes {
		return nil, []error{&Error{Position: Position{f.Name, 1, 1}, Reason: fmt.Sprintf("file is larger than %d bytes", MaxFileBytes)}}
	}
	var items []item
	var errs []error
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return items, errs
		}
		if err != nil {
			return items, append(errs, yamlError(f, err))
		}
		more, docErrs := readDocument(f, &doc)
		items, errs = append(items, more...), append(errs, docErrs...)
		if len(items) > MaxItems || len(errs) > MaxErrors {
			return items, append(errs, f.errorf(&doc, "too many items or errors"))
		}
	}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlError moves the line number of a YAML error to where ours stand.
func yamlError(f *File, err error) error {
	pos := Position{f.Name, 1, 1}
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	if m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			pos.Line = n
		}
		msg = msg[len(m[0]):]
	}
	return &Error{Position: pos, Reason: "not YAML: " + msg}
}

func readDocument(f *File, doc *yaml.Node) ([]item, []error) {
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	if alias := findAlias(doc); alias != nil {
		return nil, []error{f.errorf(alias, "YAML aliases are not supported")}
	}
	seq := doc.Content[0]
	if seq.Kind != yaml.SequenceNode {
		return nil, []error{f.errorf(seq, "a rules file is a sequence of rules, macros and lists")}
	}
	var items []item
	var errs []error
	for _, n := range seq.Content {
		if n.Tag == "!!null" {
			continue
		}
		it, err := readItem(f, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		items = append(items, it)
	}
	return items, errs
}

func findAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}
	for _, kid := range n.Content {
		if a := findAlias(kid); a != nil {
			return a
		}
	}
	return nil
}

func readItem(f *File, n *yaml.Node) (item, error) {
	it := item{file: f, node: n}
	keys, err := mapping(f, n)
	if err != nil {
		return it, err
	}
	it.keys = keys
	for _, kind := range []string{"required_engine_version", "required_plugin_versions", "list", "macro", "rule"} {
		if keys[kind] != nil {
			it.kind = kind
			break
		}
	}
	if it.kind == "" {
		return it, f.errorf(n, "unknown item: expected a rule, macro, list, required_engine_version or required_plugin_versions")
	}
	for key, val := range keys {
		if key != it.kind && !slices.Contains(itemKeys[it.kind], key) {
			return it, f.errorf(val, "unknown key %.40q in a %s", key, it.kind)
		}
	}
	if it.kind == "required_plugin_versions" {
		return it, nil
	}
	it.name, err = it.str(it.kind)
	return it, err
}

// mapping reads a mapping's keys, refusing duplicates.
func mapping(f *File, n *yaml.Node) (map[string]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, f.errorf(n, "expected a mapping of keys to values")
	}
	keys := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode {
			return nil, f.errorf(k, "keys must be plain words")
		}
		if keys[k.Value] != nil {
			return nil, f.errorf(k, "key %.40q stands twice", k.Value)
		}
		keys[k.Value] = n.Content[i+1]
	}
	return keys, nil
}

// str returns a required non-empty scalar.
func (it *item) str(key string) (string, error) {
	n := it.keys[key]
	if n == nil {
		return "", it.file.errorf(it.node, "%s %q lacks the key %q", it.kind, it.name, key)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
		return "", it.file.errorf(n, "%s must be a non-empty text", key)
	}
	return n.Value, nil
}

// text returns a required scalar as text with positions.
func (it *item) text(key string) (*text, error) {
	s, err := it.str(key)
	if err != nil {
		return nil, err
	}
	return newText(it.file, it.keys[key], s), nil
}

// flag returns an optional boolean.
func (it *item) flag(key string, absent bool) (bool, error) {
	n := it.keys[key]
	if n == nil {
		return absent, nil
	}
	var b bool
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&b) != nil {
		return false, it.file.errorf(n, "%s must be true or false", key)
	}
	return b, nil
}

// scalars reads a sequence of scalars; an absent key is an empty sequence.
func (it *item) scalars(key string) ([]*yaml.Node, error) {
	n := it.keys[key]
	if n == nil {
		return nil, nil
	}
	return scalars(it.file, n, key)
}

func scalars(f *File, n *yaml.Node, what string) ([]*yaml.Node, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, f.errorf(n, "%s must be a sequence", what)
	}
	for _, v := range n.Content {
		if v.Kind != yaml.ScalarNode {
			return nil, f.errorf(v, "%s must hold plain values", what)
		}
	}
	return n.Content, nil
}

// overrides returns which keys an item appends and which it replaces. The
// older "append: true" appends all that the item has.
func (it *item) overrides(appendable, replaceable []string) (app, repl []string, err error) {
	old, err := it.flag("append", false)
	if err != nil {
		return nil, nil, err
	}
	n := it.keys["override"]
	switch {
	case n == nil && old:
		for _, key := range appendable {
			if it.keys[key] != nil {
				app = append(app, key)
			}
		}
		return app, nil, nil
	case n == nil:
		return nil, nil, nil
	case old:
		return nil, nil, it.file.errorf(n, "append and override can't be used together")
	}
	ops, err := mapping(it.file, n)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range sortedKeys(ops) {
		op := ops[key]
		switch {
		case it.keys[key] == nil:
			err = it.file.errorf(op, "override names %q, but the item has no such key", key)
		case op.Value == "append" && slices.Contains(appendable, key):
			app = append(app, key)
		case op.Value == "replace" && slices.Contains(replaceable, key):
			repl = append(repl, key)
		default:
			err = it.file.errorf(op, "key %q can't be overridden by %.40q", key, op.Value)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for key, val := range it.keys {
		if slices.Contains(replaceable, key) && ops[key] == nil {
			return nil, nil, it.file.errorf(val, "key %q has no entry under override", key)
		}
	}
	return app, repl, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
