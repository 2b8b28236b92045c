package canary

import "strings"

// maxGap is how far two pieces of one value may be apart, in bytes, for what is
// between them to be redacted too.
const maxGap = 256

// span is a piece of a text to redact.
type span struct {
	from, end int
	hit       Hit
}

// Redact replaces canaries in a text, and what they are run together with, by
// the credentials' names.
func (s *Set) Redact(text string) string {
	var spans []span
	s.matcher().scan(0, []byte(text), func(h match, end int) {
		next := widened(text, end, h)
		if n := len(spans); n > 0 && next.from <= spans[n-1].end {
			spans[n-1].end = max(spans[n-1].end, next.end)
		} else if n > 0 && spans[n-1].hit.Name == h.Name && next.from-spans[n-1].end <= maxGap {
			spans[n-1].end = next.end
		} else {
			spans = append(spans, next)
		}
	})
	if len(spans) == 0 {
		return text
	}
	var out strings.Builder
	done := 0
	for _, sp := range spans {
		out.WriteString(text[done:sp.from] + "[" + sp.hit.Name + ", " + sp.hit.Form + "]")
		done = sp.end
	}
	out.WriteString(text[done:])
	return out.String()
}

// widened is the word around a hit that ends before index end.
func widened(text string, end int, h match) span {
	from := end
	for n := h.size; n > 0 && from > 0; {
		from--
		if classes[text[from]] != 0 {
			n--
		}
	}
	for from > 0 && (classes[text[from-1]] != 0 || strings.IndexByte("+/_%~-", text[from-1]) >= 0) {
		from--
	}
	for end < len(text) && (classes[text[end]] != 0 || strings.IndexByte("+/_%~-=", text[end]) >= 0) {
		end++
	}
	return span{from, end, h.Hit}
}
