package report

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestInert(t *testing.T) {
	const hostile = "a\x1b[2J\u009b31m\u202e\u00a0\x7f\U000e0001\r\n\t\"\\ é 漢 \U0001f600"
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	got := Inert(append(text, '\n'))
	if i := strings.IndexFunc(strings.TrimSuffix(string(got), "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q does not print at %d", got, i)
	}
	var back string
	if err := json.Unmarshal(got, &back); err != nil || back != hostile {
		t.Errorf("%s means %q, %v, want %q", got, back, err, hostile)
	}
	if plain := []byte(`{"a": "é 漢"}`); string(Inert(plain)) != string(plain) {
		t.Errorf("changed %s", plain)
	}
}
