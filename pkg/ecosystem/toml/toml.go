// Package toml reads the TOML (v1.0.0) that package managers write into their
// lockfiles: tables, arrays of tables, keys, strings on one line, numbers,
// booleans, arrays and inline tables.
//
// It is strict where a lenient reader could take a hostile file for something
// else than the package manager does: a key that is set twice, a table that is
// opened twice, a multi-line string, a date or anything that it does not know
// is an error that names the line. Nesting is bounded by MaxDepth, and what it
// allocates by the input's size.
package toml

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds nested arrays and inline tables, and the parts of a key.
const MaxDepth = 16

// Table is a TOML table. Its values are string, int64, bool, Table, []any and,
// for an array of tables, []Table.
type Table map[string]any

// String returns the string under key; "" if there is none, or another type.
func (t Table) String(key string) string {
	s, _ := t[key].(string)
	return s
}

// Table returns the table under key; nil if there is none.
func (t Table) Table(key string) Table {
	sub, _ := t[key].(Table)
	return sub
}

// Tables returns the array of tables under key, or the inline tables of the
// array there; nil if there is none.
func (t Table) Tables(key string) []Table {
	switch v := t[key].(type) {
	case []Table:
		return v
	case []any:
		var out []Table
		for _, e := range v {
			if sub, ok := e.(Table); ok {
				out = append(out, sub)
			}
		}
		return out
	}
	return nil
}

// Parse reads a document.
func Parse(b []byte) (Table, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("not UTF-8")
	}
	p := &parser{s: strings.TrimPrefix(string(b), "\ufeff"), line: 1, opened: map[string]bool{}}
	root := Table{}
	p.at = root
	for {
		p.blank(true)
		if p.s == "" {
			return root, nil
		}
		var err error
		if strings.HasPrefix(p.s, "[") {
			err = p.header(root)
		} else {
			err = p.pair(p.at, 0)
		}
		if err == nil {
			err = p.endOfLine()
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
}

type parser struct {
	s      string // what is left
	line   int
	at     Table           // the table that keys go to
	opened map[string]bool // headers seen, to find repetitions
}

// blank skips white space and comments, and line ends where lines is set.
func (p *parser) blank(lines bool) {
	for p.s != "" {
		switch c := p.s[0]; {
		case c == ' ' || c == '\t':
		case c == '#':
			end := strings.IndexByte(p.s, '\n')
			if end < 0 {
				end = len(p.s)
			}
			p.s = p.s[end:]
			continue
		case lines && (c == '\n' || c == '\r' && strings.HasPrefix(p.s, "\r\n")):
			if c == '\n' {
				p.line++
			}
		default:
			return
		}
		p.s = p.s[1:]
	}
}

func (p *parser) endOfLine() error {
	p.blank(false)
	p.s = strings.TrimPrefix(p.s, "\r")
	if p.s != "" && p.s[0] != '\n' {
		return fmt.Errorf("unexpected %.20q", p.s)
	}
	return nil
}

func (p *parser) take(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

// header opens a table, or the next of an array of tables.
func (p *parser) header(root Table) error {
	array := strings.HasPrefix(p.s, "[[")
	p.s = strings.TrimPrefix(p.s[1:], "[")
	if !array && strings.HasPrefix(p.s, "[") {
		return fmt.Errorf("a bad header")
	}
	keys, err := p.key()
	if err != nil {
		return err
	}
	if !p.take(']') || array && !p.take(']') {
		return fmt.Errorf("a header has no end")
	}
	t, where, err := descend(root, keys[:len(keys)-1])
	if err != nil {
		return err
	}
	last := keys[len(keys)-1]
	where += "." + strconv.Quote(last)
	if array {
		list, _ := t[last].([]Table)
		if _, taken := t[last]; taken && list == nil {
			return fmt.Errorf("%.40q is no array of tables", last)
		}
		p.at = Table{}
		t[last] = append(list, p.at)
		return nil
	}
	sub, ok := t[last].(Table)
	if _, taken := t[last]; taken && !ok || p.opened[where] {
		return fmt.Errorf("%.40q is set twice", last)
	}
	if !ok {
		sub = Table{}
		t[last] = sub
	}
	p.opened[where] = true
	p.at = sub
	return nil
}

// descend follows keys, making tables on the way. where names the place, with
// the number of the element of each array of tables.
func descend(t Table, keys []string) (at Table, where string, err error) {
	for _, k := range keys {
		where += "." + strconv.Quote(k)
		switch v := t[k].(type) {
		case nil:
			sub := Table{}
			t[k] = sub
			t = sub
		case Table:
			t = v
		case []Table:
			where += "#" + strconv.Itoa(len(v))
			t = v[len(v)-1]
		default:
			return nil, "", fmt.Errorf("%.40q is no table", k)
		}
	}
	return t, where, nil
}

// key reads a key, which may have dots.
func (p *parser) key() ([]string, error) {
	var out []string
	for {
		p.blank(false)
		part, err := p.part()
		if err != nil {
			return nil, err
		}
		if out = append(out, part); len(out) > MaxDepth {
			return nil, fmt.Errorf("a key of more than %d parts", MaxDepth)
		}
		p.blank(false)
		if !p.take('.') {
			return out, nil
		}
	}
}

func (p *parser) part() (string, error) {
	if p.s != "" && (p.s[0] == '"' || p.s[0] == '\'') {
		return p.text()
	}
	n := 0
	for n < len(p.s) && bare(p.s[n]) {
		n++
	}
	if n == 0 {
		return "", fmt.Errorf("no key at %.20q", p.s)
	}
	part := p.s[:n]
	p.s = p.s[n:]
	return part, nil
}

func bare(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// pair reads "key = value" into t.
func (p *parser) pair(t Table, depth int) error {
	keys, err := p.key()
	if err != nil {
		return err
	}
	if !p.take('=') {
		return fmt.Errorf("no value for %.40q", keys[0])
	}
	p.blank(false)
	v, err := p.value(depth)
	if err != nil {
		return err
	}
	for _, k := range keys[:len(keys)-1] {
		sub, ok := t[k].(Table)
		if _, taken := t[k]; taken && !ok {
			return fmt.Errorf("%.40q is no table", k)
		}
		if !ok {
			sub = Table{}
			t[k] = sub
		}
		t = sub
	}
	last := keys[len(keys)-1]
	if _, taken := t[last]; taken {
		return fmt.Errorf("%.40q is set twice", last)
	}
	t[last] = v
	return nil
}
