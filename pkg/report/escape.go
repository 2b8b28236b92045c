package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes text from a sandbox safe to show in one line: what does not
// print (control characters, escape sequences, bidirectional overrides,
// invisible characters, broken UTF-8) appears in Go's escaped form.
func escape(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			b.WriteString(`\x` + hex(s[i]))
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

// clean reports whether s prints as it is.
func clean(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func hex(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

// fit cuts s, which is escaped, to width columns and marks the cut. Colour
// codes take no column. A width of 0 or less cuts nothing.
func fit(s string, width int) string {
	if width <= 0 || columns(s) <= width {
		return s
	}
	used, end, coloured := 0, 0, ""
	for i := 0; i < len(s); {
		if n := code(s[i:]); n > 0 {
			coloured, i, end = reset, i+n, i+n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if used+column(r) > width-1 {
			break
		}
		used += column(r)
		i, end = i+n, i+n
	}
	return s[:end] + "…" + coloured
}

// code returns the length of the colour code that s starts with, 0 if none.
// Only our own codes get this far: escaped text holds no ESC.
func code(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	return strings.IndexByte(s, 'm') + 1
}

func columns(s string) (n int) {
	for i := 0; i < len(s); {
		if c := code(s[i:]); c > 0 {
			i += c
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		n += column(r)
		i += size
	}
	return n
}

// column returns the columns a terminal gives a rune: none to combining marks,
// two to East Asian and other wide characters. It is exact enough to cut by.
func column(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0x1f300 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// wrap breaks plain words of ours and rules' descriptions into lines of at
// most width columns. s is escaped.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && columns(line)+1+columns(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
