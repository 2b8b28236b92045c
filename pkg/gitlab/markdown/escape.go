// Package markdown writes scan results as GitLab Flavored Markdown.
//
// Guarantees: text that nobody vouches for (whatever a sandbox, a repository or
// an alert says) is shown and does nothing: it stands inside <code> or <pre>,
// where GitLab looks for no mention, reference, link or emoji; every character
// but letters, digits and spaces is a character reference, so that none of it is markup;
// it never begins a line, so that it is no quick action; what does not print
// appears in escaped form; and it is bounded in length, as the whole is.
package markdown

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is how much of one text is shown, in characters.
const maxText = 300

// Code shows a text inside <code>, in one line. An empty text is shown as none.
func Code(s string) string {
	if s == "" {
		return "(none)"
	}
	return "<code>" + refer(s, maxText) + "</code>"
}

// Pre shows texts inside <pre>, one a line, each behind a mark of ours.
func Pre(lines []string) string {
	var b strings.Builder
	b.WriteString("<pre>")
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strings.Repeat("  ", min(i, 12)) + "- " + refer(l, maxText))
	}
	b.WriteString("</pre>")
	return b.String()
}

// refer writes a text up to a limit, in characters: letters, digits and
// spaces as they are, everything else as character references.
func refer(s string, limit int) string {
	var b strings.Builder
	n := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if n++; n > limit {
			b.WriteString("...")
			break
		}
		switch {
		case r == utf8.RuneError && size == 1:
			spell(&b, fmt.Sprintf(`\x%02x`, s[0]))
		case r == ' ' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		default:
			q := strconv.QuoteRuneToASCII(r)
			spell(&b, q[1:len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// spell writes ASCII text, its punctuation as references.
func spell(b *strings.Builder, s string) {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			b.WriteRune(r)
		} else {
			b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		}
	}
}
