package rules

import (
	"regexp"
	"strconv"
	"strings"
)

var numberPattern = regexp.MustCompile(`^(0[xX][0-9a-fA-F]+|[+-]?[0-9]+\.?[0-9]*([eE][+-][0-9]+)?)`)

// comparison reads operator and right side after a left side.
func (p *parser) comparison(left *term) (node, error) {
	p.blank()
	c := &comparison{at: left.at, left: *left, opAt: p.here()}
	op, ok := p.operator()
	if !ok {
		return nil, p.unexpected("an operator (" + operatorNames + ")")
	}
	c.op = op
	if op == "exists" {
		return c, nil
	}
	p.blank()
	var err error
	switch {
	case isListOp(op) && p.take('('):
		c.right, err = p.list()
		return c, err
	case p.atTransformer():
		c.from, err = p.fieldValue()
		return c, err
	}
	lit, err := p.literal(op)
	c.right = []literal{lit}
	return c, err
}

// operator reads symbols greedily, words up to their end.
func (p *parser) operator() (string, bool) {
	for _, op := range []string{"==", "=", "!=", "<=", "<", ">=", ">"} {
		if strings.HasPrefix(p.rest(), op) {
			p.i += len(op)
			return op, true
		}
	}
	end := p.i
	for end < len(p.s) && isLetter(p.s[end]) {
		end++
	}
	op := p.s[p.i:end]
	if _, known := operators[op]; !known || (end < len(p.s) && !isBlank(p.s[end]) && p.s[end] != '(' && p.s[end] != ')') {
		return "", false
	}
	p.i = end
	return op, true
}

// atTransformer reports whether a field stands at the cursor rather than a
// value: transformer(field) or val(field).
func (p *parser) atTransformer() bool {
	word, _, found := strings.Cut(p.rest(), "(")
	return found && (word == "val" || isTransformer(word))
}

func (p *parser) fieldValue() (*term, error) {
	if !strings.HasPrefix(p.rest(), "val(") {
		return p.term()
	}
	p.i += len("val(")
	t, err := p.term()
	if err != nil {
		return nil, err
	}
	if len(t.transforms) > 0 {
		return nil, t.at.errorf("val() takes a plain field")
	}
	if p.blank(); !p.take(')') {
		return nil, p.unexpected("')' after val()'s field")
	}
	return t, nil
}

// literal reads the one value of a comparison.
func (p *parser) literal(op string) (literal, error) {
	lit := literal{at: p.here()}
	switch {
	case isListOp(op):
		lit.value, lit.inList = p.word(), true
		if lit.value == "" || strings.Contains(lit.value, ".") {
			p.i = lit.at.off
			return lit, p.unexpected("a list in parentheses or a list's name")
		}
		return lit, nil
	case isOrderOp(op):
		lit.value = numberPattern.FindString(p.rest())
		if lit.value == "" {
			return lit, p.unexpected("a number")
		}
		p.i += len(lit.value)
		return lit, nil
	}
	lit, err := p.value()
	if err == nil && !lit.quoted && (lit.value == "oneof" || lit.value == "anyof" || lit.value == "allof") {
		rest := strings.TrimLeft(p.rest(), " \t\r\n\b")
		if strings.HasPrefix(rest, "(") {
			return lit, lit.at.errorf("operator modifier %q is not supported", lit.value)
		}
	}
	return lit, err
}

// list reads the values after '(' up to and including ')'.
func (p *parser) list() ([]literal, error) {
	if p.blank(); p.take(')') {
		return nil, nil
	}
	var all []literal
	for {
		p.blank()
		lit, err := p.value()
		if err != nil {
			return nil, err
		}
		all = append(all, lit)
		p.blank()
		switch {
		case p.take(','):
		case p.take(')'):
			return all, nil
		default:
			return nil, p.unexpected("',' or ')'")
		}
	}
}

// value reads a quoted or bare string.
func (p *parser) value() (literal, error) {
	lit := literal{at: p.here()}
	s, ok, err := p.quoted()
	if err != nil {
		return lit, err
	}
	if ok {
		lit.value, lit.quoted = s, true
		return lit, nil
	}
	end := strings.IndexAny(p.rest(), "()\"' \t\r\n\v\f\b=,")
	if end < 0 {
		end = len(p.rest())
	}
	if end == 0 {
		return lit, p.unexpected("a value")
	}
	lit.value = p.s[p.i : p.i+end]
	p.i += end
	return lit, nil
}

// quoted reads a quoted string; false if none stands at the cursor. As in
// Falco, a quote ends the string unless a backslash stands right before it.
func (p *parser) quoted() (string, bool, error) {
	if p.i >= len(p.s) || (p.s[p.i] != '\'' && p.s[p.i] != '"') {
		return "", false, nil
	}
	start, delim := p.i, p.s[p.i]
	for i := p.i + 1; i < len(p.s); i++ {
		if p.s[i] == delim && p.s[i-1] != '\\' {
			s, reason := unescape(p.s[start+1:i], delim)
			if reason != "" {
				return "", false, p.at(start).errorf("%s", reason)
			}
			p.i = i + 1
			return s, true, nil
		}
	}
	return "", false, p.at(start).errorf("the quoted string does not end")
}

// unescape resolves the escapes that Falco knows.
func unescape(s string, delim byte) (value, reason string) {
	if !strings.Contains(s, `\`) {
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i >= len(s) {
			return "", "the quoted string ends in a backslash"
		}
		switch c := s[i]; {
		case c == 'b':
			b.WriteByte('\b')
		case c == 'f':
			b.WriteByte('\f')
		case c == 'n':
			b.WriteByte('\n')
		case c == 'r':
			b.WriteByte('\r')
		case c == 't':
			b.WriteByte('\t')
		case c == '\\', c == '/', c == delim:
			b.WriteByte(c)
		case c == 'x' && i+2 < len(s):
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", `\x needs two hexadecimal digits`
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			return "", "unsupported escape \\" + string(c)
		}
	}
	return b.String(), ""
}
