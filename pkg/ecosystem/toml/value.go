package toml

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (p *parser) value(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	switch {
	case p.s == "":
		return nil, fmt.Errorf("no value")
	case p.s[0] == '"' || p.s[0] == '\'':
		return p.text()
	case p.take('['):
		return p.array(depth)
	case p.take('{'):
		return p.inline(depth)
	}
	end := strings.IndexAny(p.s, " \t\r\n,]}#")
	if end < 0 {
		end = len(p.s)
	}
	word := p.s[:end]
	p.s = p.s[end:]
	switch word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%.40q is a value that lockfiles don't have", word)
	}
	return n, nil
}

func (p *parser) array(depth int) (any, error) {
	out := []any{}
	for {
		p.blank(true)
		if p.take(']') {
			return out, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		p.blank(true)
		if !p.take(',') && !strings.HasPrefix(p.s, "]") {
			return nil, fmt.Errorf("an array goes on with %.20q", p.s)
		}
	}
}

// inline reads an inline table, which stands on one line.
func (p *parser) inline(depth int) (any, error) {
	t := Table{}
	p.blank(false)
	if p.take('}') {
		return t, nil
	}
	for {
		if err := p.pair(t, depth+1); err != nil {
			return nil, err
		}
		p.blank(false)
		if p.take('}') {
			return t, nil
		}
		if !p.take(',') {
			return nil, fmt.Errorf("an inline table goes on with %.20q", p.s)
		}
		p.blank(false)
	}
}

// text reads a string on one line.
func (p *parser) text() (string, error) {
	quote := p.s[0]
	if strings.HasPrefix(p.s, strings.Repeat(string(quote), 3)) {
		return "", fmt.Errorf("a string of several lines")
	}
	var out strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == quote:
			p.s = p.s[i+1:]
			return out.String(), nil
		case c == '\n' || c < 0x20 && c != '\t' || c == 0x7f:
			return "", fmt.Errorf("a control character in a string")
		case c == '\\' && quote == '"':
			n, err := escape(&out, p.s[i+1:])
			if err != nil {
				return "", err
			}
			i += n
		default:
			out.WriteByte(c)
		}
	}
	return "", fmt.Errorf("a string has no end")
}

var escapes = map[byte]byte{'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', '"': '"', '\\': '\\'}

// escape writes what follows a backslash and returns its length.
func escape(out *strings.Builder, s string) (int, error) {
	if s == "" {
		return 0, fmt.Errorf("a string has no end")
	}
	if c, ok := escapes[s[0]]; ok {
		out.WriteByte(c)
		return 1, nil
	}
	digits := map[byte]int{'u': 4, 'U': 8}[s[0]]
	if digits == 0 || len(s) < 1+digits {
		return 0, fmt.Errorf("an unknown escape %.10q", s)
	}
	n, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) || n > utf8.MaxRune {
		return 0, fmt.Errorf("an escape that is no character: %.10q", s)
	}
	out.WriteRune(rune(n))
	return 1 + digits, nil
}
