package rules

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Position is a place in a rules file. Line and Column count from 1; Column
// counts bytes.
type Position struct {
	File   string
	Line   int
	Column int
}

// String formats the position as file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Error is one reason why rules were refused.
type Error struct {
	Position
	Reason string
	// unknown marks a field or event type this source does not have: the only
	// errors that skip-if-unknown-filter forgives.
	unknown bool
}

// Error returns file:line:column: reason.
func (e *Error) Error() string { return e.Position.String() + ": " + e.Reason }

// Note is something legal that the author of a rule may not intend.
type Note struct {
	Position
	Text string
}

// String returns file:line:column: text.
func (n Note) String() string { return n.Position.String() + ": " + n.Text }

// text is a condition or an output: one YAML scalar, or several that overrides
// appended. It maps offsets back to places in files.
type text struct {
	s    string
	segs []segment
}

type segment struct {
	start int // offset in text.s
	file  *File
	node  *yaml.Node
}

func newText(f *File, n *yaml.Node, s string) *text {
	return &text{s: s, segs: []segment{{file: f, node: n}}}
}

// add appends as Falco does: with one blank between.
func (t *text) add(more *text) *text {
	out := &text{s: t.s + " " + more.s, segs: append([]segment(nil), t.segs...)}
	for _, seg := range more.segs {
		seg.start += len(t.s) + 1
		out.segs = append(out.segs, seg)
	}
	return out
}

// place is an offset in a text.
type place struct {
	text *text
	off  int
}

func (p place) position() Position {
	seg := p.text.segs[0]
	for _, s := range p.text.segs {
		if s.start <= p.off {
			seg = s
		}
	}
	end := len(p.text.s)
	for _, s := range p.text.segs {
		if s.start > seg.start {
			end = min(end, s.start-1)
		}
	}
	return seg.locate(p.text.s[seg.start:end], p.off-seg.start)
}

func (p place) errorf(format string, args ...any) *Error {
	return &Error{Position: p.position(), Reason: fmt.Sprintf(format, args...)}
}

// locate finds the source position of offset off in the node's decoded value.
// YAML folds blanks and line breaks but keeps all other characters in order, so
// the two are walked in step, blanks skipped. Where escapes break the step the
// last known place is the answer.
func (s segment) locate(value string, off int) Position {
	pos := Position{File: s.file.Name, Line: s.node.Line, Column: s.node.Column}
	src := s.file.Data
	i := offsetOf(src, pos.Line, pos.Column)
	switch {
	case s.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		for i < len(src) && src[i] != '\n' { // the header: >- or |
			i++
		}
	case s.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		i++
	}
	line, column := lineColumn(src, i)
	found := Position{File: pos.File, Line: line, Column: column}
	for v := 0; v <= off && v < len(value); v++ {
		if isBlank(value[v]) {
			continue
		}
		for i < len(src) && src[i] != value[v] && (isBlank(src[i]) || src[i] == '\\' || src[i] == '\'') {
			i++
		}
		if i >= len(src) || src[i] != value[v] {
			break
		}
		found.Line, found.Column = lineColumn(src, i)
		i++
	}
	return found
}

func offsetOf(src []byte, line, column int) int {
	i := 0
	for ; line > 1 && i < len(src); i++ {
		if src[i] == '\n' {
			line--
		}
	}
	return min(i+max(column-1, 0), len(src))
}

func lineColumn(src []byte, off int) (line, column int) {
	before := string(src[:min(off, len(src))])
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\b' }
