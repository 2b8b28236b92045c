package broker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// FuzzEscape: any event type makes a subject that NATS takes, and two types
// never make the same one.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"dev.falconer.repo.push.v1", "", ".", "..", "a..b", "a.", ".a", "*", ">", "a b", "=", "=2E", "\xff", "\u00e9"} {
		f.Add(s, s+".")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for token := range strings.SplitSeq(escape(a), ".") {
			if token == "" || strings.Trim(token, "=-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				t.Fatalf("escape(%q) = %q", a, escape(a))
			}
		}
		if a != b && escape(a) == escape(b) {
			t.Fatalf("%q and %q are both %q", a, b, escape(a))
		}
	})
}

// FuzzStore: what the broker stores, it reads back unchanged.
func FuzzStore(f *testing.F) {
	f.Add("application/json", []byte(`{"a":1}`), "s", "x")
	f.Add("text/plain", []byte("a\xffb"), "", "")
	f.Add("", []byte(nil), "\u00e9", "\u2028")
	f.Add("application/json", []byte(`{`), "s", "x")
	f.Add("application/xml", []byte(`"`), "<&>", "\\")
	f.Fuzz(func(t *testing.T, media string, data []byte, subject, ext string) {
		e := ce.New()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType("t")
		e.SetSubject(subject)
		e.SetDataContentType(media)
		e.SetExtension("x", ext)
		e.DataEncoded = data
		if event.Check(e) != nil {
			return
		}
		body, err := event.Encode(e)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatal(err)
			}
			return
		}
		got, err := decode(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		same := bytes.Equal(got.Data(), data) || compact(got.Data()) == compact(data)
		if !same || got.Subject() != e.Subject() || event.Extension(got, "x") != ext {
			t.Fatalf("stored %s\nread   %s\nas %s", e, got, body)
		}
	})
}

func compact(b []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return string(b)
	}
	return out.String()
}

func TestErrorDataIsWholeJSONWithinTheLimit(t *testing.T) {
	for _, reason := range []string{"", "short", strings.Repeat("<", 3000), strings.Repeat("\u00e9", 3000), strings.Repeat("\xff", 2000)} {
		data := errorData(errors.New(reason))
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil || len(data) > maxErrorData || !json.Valid(raw) {
			t.Errorf("%.10q: %d bytes, %s, %v", reason, len(data), raw, err)
		}
	}
}
