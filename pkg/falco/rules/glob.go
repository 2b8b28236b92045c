package rules

import "strings"

// glob is a pattern of fnmatch(3) without flags, as Falco uses it: * also
// matches '/', and a leading dot is nothing special.
type glob struct {
	parts []globPart
	fold  bool
}

// globPart matches one byte, or any run of bytes if star.
type globPart struct {
	star bool
	set  *[256]bool
}

func newGlob(pattern string, fold bool) (*glob, string) {
	g := &glob{fold: fold}
	for i := 0; i < len(pattern); i++ {
		part := globPart{}
		switch c := pattern[i]; c {
		case '*':
			if n := len(g.parts); n > 0 && g.parts[n-1].star {
				continue
			}
			part.star = true
		case '?':
			part.set = new([256]bool)
			for b := range part.set {
				part.set[b] = true
			}
		case '[':
			set, next, reason := globClass(pattern, i, fold)
			if reason != "" {
				return nil, reason
			}
			part.set, i = set, next
		default:
			if c == '\\' {
				if i++; i == len(pattern) {
					return nil, "ends in a backslash"
				}
				c = pattern[i]
			}
			part.set = new([256]bool)
			g.allow(part.set, c, c)
		}
		g.parts = append(g.parts, part)
	}
	return g, ""
}

func (g *glob) allow(set *[256]bool, lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		b := byte(c)
		if g.fold {
			b = lowerByte(b)
		}
		set[b] = true
	}
}

// globClass reads [abc], [a-z] and [!a-z] from the '[' at i on; it returns the
// index of the ']'.
func globClass(pattern string, i int, fold bool) (*[256]bool, int, string) {
	set, g := new([256]bool), &glob{fold: fold}
	j := i + 1
	negated := j < len(pattern) && (pattern[j] == '!' || pattern[j] == '^')
	if negated {
		j++
	}
	for first := true; ; first = false {
		if j >= len(pattern) {
			return nil, 0, "has a '[' without ']'"
		}
		c := pattern[j]
		if c == ']' && !first {
			break
		}
		if c == '[' && j+1 < len(pattern) && strings.IndexByte(":.=", pattern[j+1]) >= 0 {
			return nil, 0, "has a named class, which is not supported"
		}
		if c == '\\' && j+1 < len(pattern) {
			j++
			c = pattern[j]
		}
		hi := c
		if j+2 < len(pattern) && pattern[j+1] == '-' && pattern[j+2] != ']' {
			hi = pattern[j+2]
			j += 2
		}
		g.allow(set, c, hi)
		j++
	}
	if negated {
		for b := range set {
			set[b] = !set[b]
		}
	}
	return set, j, ""
}

// match takes time proportional to len(s) times the pattern's length at worst.
func (g *glob) match(s string) bool {
	p, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		if p < len(g.parts) && g.parts[p].star {
			star, resume = p, i
			p++
			continue
		}
		c := s[i]
		if g.fold {
			c = lowerByte(c)
		}
		if p < len(g.parts) && g.parts[p].set[c] {
			p++
			i++
			continue
		}
		if star < 0 {
			return false
		}
		resume++
		p, i = star+1, resume
	}
	for p < len(g.parts) && g.parts[p].star {
		p++
	}
	return p == len(g.parts)
}
