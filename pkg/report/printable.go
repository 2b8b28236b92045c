package report

import "unicode/utf8"

// Printable makes text that nobody vouches for fit to stand in a document as
// data: one line of valid UTF-8 in which what does not print is spelled out, of
// at most limit characters; what is cut ends in an ellipsis. It is no markup's
// escaping: that is the format's matter.
func Printable(s string, limit int) string {
	if len(s) > 8*limit { // escaping everything of what can be shown is enough
		s = s[:8*limit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		s = s[:len(s)-1]
	}
	s = escape(s)
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == limit {
			return s[:i] + "…"
		}
	}
	return s
}
