package report

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"plain", "node steal.js", 100, "node steal.js"},
		{"exactly the limit", "abcde", 5, "abcde"},
		{"one more", "abcdef", 5, "abcd…"},
		{"wide characters", "漢字漢字", 3, "漢字…"},
		{"lines and escapes", "a\nb\x1b[0m\u202e", 100, `a\nb\x1b[0m\u202e`},
		{"no UTF-8", "a\xff", 100, `a\xff`},
		{"nothing but broken UTF-8, long", strings.Repeat("\x80", 1000), 8, `\x80\x8…`},
		{"empty", "", 5, ""},
	} {
		if got := Printable(tt.in, tt.limit); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[0m\u202e漢\xff\x80", 4)
	f.Add(strings.Repeat("\xe6", 500), 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + (limit&0x7fffffff)%200
		got := Printable(s, limit)
		if n := utf8.RuneCountInString(got); n > limit {
			t.Errorf("%d characters, more than %d", n, limit)
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q does not print", got)
		}
	})
}
