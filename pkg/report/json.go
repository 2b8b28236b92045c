package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/falconer-sec/falconer/pkg/finding"
)

// JSON writes a result as indented JSON that follows the published schema, with
// a newline at its end. Fields keep their order, lists the result's. Nothing in
// it can drive a terminal, see Inert. The error is w's.
func JSON(w io.Writer, r finding.Result) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	_, err := w.Write(Inert(b.Bytes()))
	return err
}

// Inert returns JSON that means the same and has every character that does not
// print, line breaks aside, in its escaped form: encoding/json leaves 8-bit
// control characters and bidirectional overrides as they are.
func Inert(text []byte) []byte {
	moved := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(text, moved) < 0 {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case !moved(r):
			out = append(out, text[:n]...)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[n:]
	}
	return out
}
