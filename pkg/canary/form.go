package canary

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// How many characters of a value give it away: each size is some 70 bits or
// more of what nobody can guess, so that nothing else is taken for it.
const (
	coreSize   = 12 // letters and digits
	hexCore    = 20 // hexadecimal digits
	numberCore = 32 // decimal numbers with commas
)

// minPattern is the length, in letters and digits, below which an encoded
// piece is not looked for.
const minPattern = 10

// cores picks what to look for of a value: a piece at its beginning and, of a
// long one, another at its end, so that a value that is cut is found too.
func (v value) cores() []string {
	n := v.core
	if n == 0 {
		n = coreSize
	}
	if len(v.text) < n {
		panic(fmt.Sprintf("canary: %s has a value of %d characters", v.name, len(v.text)))
	}
	out := []string{v.text[:n]}
	if len(v.text) >= n+8 {
		out = append(out, v.text[len(v.text)-n:])
	}
	return out
}

// form is one way to write a piece of text.
type form struct {
	name string
	// write returns every way in which the piece can turn up inside a longer
	// text that is encoded so: one for each alignment.
	write func(core string) []string
}

// forms are the encodings that are recognised. The matcher passes over
// everything that is no letter or digit, so that what differs in punctuation
// only is one form: URL encoding is hexadecimal between percent signs, and
// base 64 of either alphabet, with line breaks or without, is one.
var forms = []form{
	{"plain", func(c string) []string { return []string{c, strings.ToLower(c), url.QueryEscape(c)} }},
	{"reversed", func(c string) []string { return []string{reverse(c)} }},
	{"hex", func(c string) []string {
		return []string{hex.EncodeToString([]byte(c)), strings.ToUpper(hex.EncodeToString([]byte(c)))}
	}},
	{"decimal", func(c string) []string {
		out := ""
		for _, b := range []byte(c) {
			out += fmt.Sprint(b)
		}
		return []string{out}
	}},
	{"base64", base64Of},
	{"base64, twice", func(c string) []string { return each(base64Of(c), base64Of) }},
	{"base64, reversed", func(c string) []string {
		return each(base64Of(c), func(s string) []string { return []string{reverse(s)} })
	}},
	{"reversed, base64", func(c string) []string { return base64Of(reverse(c)) }},
	{"hex, base64", func(c string) []string { return base64Of(hex.EncodeToString([]byte(c))) }},
	{"base32", func(c string) []string {
		return each(base32Of(c), func(s string) []string { return []string{s, strings.ToLower(s)} })
	}},
	{"rot13", func(c string) []string { return []string{strings.Map(rot13, c)} }},
}

func base64Of(s string) []string { return aligned(s, 3, 6, base64.RawStdEncoding.EncodeToString) }
func base32Of(s string) []string {
	return aligned(s, 5, 5, base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString)
}

// aligned encodes s after 0 to group-1 other bytes, and keeps of each the
// characters, of so many bits, that depend on s alone.
func aligned(s string, group, bits int, encode func([]byte) string) []string {
	var out []string
	for before := range group {
		text := encode(append(make([]byte, before), s...))
		from, to := (before*8+bits-1)/bits, (before+len(s))*8/bits
		out = append(out, text[from:to])
	}
	return out
}

func each(list []string, f func(string) []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, f(s)...)
	}
	return out
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func rot13(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case r >= 'A' && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}

// solid removes from a pattern what the matcher passes over.
func solid(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 || classes[r] == 0 {
			return -1
		}
		return r
	}, s)
}
