package rules

import "strings"

// parser reads a condition by recursive descent, straight from the characters:
// Falco's grammar has no tokens independent of context.
type parser struct {
	text  *text
	s     string
	i     int
	depth int
}

// parseCondition parses a whole condition.
func parseCondition(t *text) (node, error) {
	p := &parser{text: t, s: t.s}
	switch {
	case len(t.s) > MaxConditionBytes:
		return nil, p.at(0).errorf("condition is longer than %d bytes", MaxConditionBytes)
	case strings.IndexByte(t.s, 0) >= 0:
		return nil, p.at(0).errorf("condition contains a NUL byte")
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.i < len(p.s) {
		return nil, p.unexpected("'and', 'or' or the end of the condition")
	}
	return n, nil
}

func (p *parser) at(off int) place { return place{p.text, min(off, len(p.s))} }
func (p *parser) here() place      { return p.at(p.i) }
func (p *parser) rest() string     { return p.s[p.i:] }

func (p *parser) blank() {
	for p.i < len(p.s) && isBlank(p.s[p.i]) {
		p.i++
	}
}

// unexpected says what stands at the cursor and what would be right there.
func (p *parser) unexpected(want string) *Error {
	if p.i >= len(p.s) {
		return p.at(max(len(strings.TrimRight(p.s, " \t\r\n\b"))-1, 0)).errorf("the condition ends where %s is expected", want)
	}
	got := p.rest()
	if end := strings.IndexAny(got, " \t\r\n"); end > 0 {
		got = got[:end]
	}
	return p.here().errorf("unexpected %.40q: expected %s", got, want)
}

// keyword consumes a word that is followed by a blank, '(' or the end.
func (p *parser) keyword(word string) bool {
	rest, ok := strings.CutPrefix(p.rest(), word)
	if !ok || (rest != "" && !isBlank(rest[0]) && rest[0] != '(') {
		return false
	}
	p.i += len(word)
	return true
}

func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return p.here().errorf("nested deeper than %d levels", MaxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) or() (node, error)  { return p.junction("or", false, p.and) }
func (p *parser) and() (node, error) { return p.junction("and", true, p.not) }

func (p *parser) junction(word string, and bool, operand func() (node, error)) (node, error) {
	var kids []node
	for {
		n, err := operand()
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
		p.blank()
		if !p.keyword(word) {
			break
		}
	}
	if len(kids) == 1 {
		return kids[0], nil
	}
	return &junction{and: and, kids: kids}, nil
}

func (p *parser) not() (node, error) {
	negate := false
	for p.blank(); p.keyword("not"); p.blank() {
		negate = !negate
	}
	n, err := p.primary()
	if err != nil || !negate {
		return n, err
	}
	return &negation{kid: n}, nil
}

// primary is a parenthesis, a comparison or a macro's name.
func (p *parser) primary() (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.take('(') {
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.blank(); !p.take(')') {
			return nil, p.unexpected("')'")
		}
		return n, nil
	}
	start := p.i
	word := p.word()
	if word == "" {
		return nil, p.unexpected("a field, a macro or '('")
	}
	if !strings.Contains(word, ".") && (p.i >= len(p.s) || p.s[p.i] != '(') {
		return &macroRef{at: p.at(start), name: word}, nil
	}
	p.i = start
	left, err := p.term()
	if err != nil {
		return nil, err
	}
	return p.comparison(left)
}

func (p *parser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// word reads letters, digits and '_' from a letter on; where a '.' is followed
// by a letter it goes on: an identifier, or a field's name.
func (p *parser) word() string {
	start := p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case isLetter(c), p.i > start && (isDigit(c) || c == '_'):
			p.i++
		case c == '.' && p.i > start && p.i+1 < len(p.s) && isLetter(p.s[p.i+1]):
			p.i++
		default:
			return p.s[start:p.i]
		}
	}
	return p.s[start:p.i]
}

// term reads field, field[arg] or transformer(term).
func (p *parser) term() (*term, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	p.blank()
	start := p.i
	word := p.word()
	if word != "" && p.take('(') {
		if !isTransformer(word) {
			return nil, p.at(start).errorf("unknown or unsupported transformer %q: supported are %s", word, transformerNames)
		}
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		if p.blank(); !p.take(')') {
			return nil, p.unexpected("')' after the transformer's field")
		}
		t.at, t.transforms = p.at(start), append(t.transforms, word)
		return t, nil
	}
	if !strings.Contains(word, ".") {
		p.i = start
		return nil, p.unexpected("a field")
	}
	t := &term{at: p.at(start), field: word}
	if !p.take('[') {
		return t, nil
	}
	var err error
	if t.arg, err = p.argument(); err != nil {
		return nil, err
	}
	t.hasArg = true
	return t, nil
}

// argument reads up to and including the ']' of field[arg].
func (p *parser) argument() (string, error) {
	if quoted, ok, err := p.quoted(); ok || err != nil {
		if err == nil && !p.take(']') {
			err = p.unexpected("']'")
		}
		return quoted, err
	}
	end := strings.IndexAny(p.rest(), "[]\"' \t\r\n")
	if end <= 0 || p.s[p.i+end] != ']' {
		return "", p.unexpected("a field's argument and ']'")
	}
	arg := p.s[p.i : p.i+end]
	p.i += end + 1
	return arg, nil
}
