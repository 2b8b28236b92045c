package report

import "unicode/utf8"

// Printable makes text that nobody vouches for fit to stand in a document as
// data: one line of valid UTF-8 in which what does not print is spelled out, of
// at most limit characters; what is cut ends in an ellipsis. It is no markup's
// escaping: that is the format's matter.
func Printable(s string, limit int) string {
	if most := 8 * limit; len(s) > most { // bytes enough for more characters than are shown
		for range utf8.UTFMax { // not in the middle of a character
			if utf8.RuneStart(s[most]) {
				break
			}
			most--
		}
		s = s[:most]
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
