package sensor

import (
	"strings"
	"testing"
)

// query is a DNS query for a name.
func query(name string) []byte {
	b := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

func TestQuestion(t *testing.T) {
	answer := query("a.example.com")
	answer[2] |= 0x80
	none := query("a.example.com")
	none[5] = 0
	for _, tt := range []struct {
		name   string
		data   []byte
		stream bool
		want   string
	}{
		{"a name", query("A.example.com"), false, "a.example.com"},
		{"over TCP", append([]byte{0, 31}, query("a.example.com")...), true, "a.example.com"},
		{"cut", query("a.example.com")[:20], false, "a.examp"},
		{"an answer", answer, false, ""},
		{"no question", none, false, ""},
		{"a pointer", append(query("a")[:12], 0xc0, 12), false, ""},
		{"nothing", nil, true, ""},
		{"a header only", query("a")[:12], false, ""},
	} {
		if got := question(tt.data, tt.stream); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(query("a.example.com"), false)
	f.Add(append([]byte{0, 31}, query("a.example.com")...), true)
	f.Fuzz(func(t *testing.T, data []byte, stream bool) {
		if got := question(data, stream); len(got) > len(data)*3 { // lower case may take more bytes
			t.Errorf("%d bytes of %d", len(got), len(data))
		}
	})
}
