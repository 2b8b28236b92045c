package ticket_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

const (
	first  = scan.ID("0b8f6f52-6b3c-5d3f-8b1e-4f6a0a9f1c11")
	second = scan.ID("5d3e3d0c-9f55-5a4e-9c2b-2a54a5b0c7d2")
)

var (
	key     = ticket.Key(strings.Repeat("k", ticket.MinKey))
	now     = time.Unix(1_800_000_000, 0)
	expires = now.Add(time.Minute)
)

func TestCheckTakesWhatPathMakes(t *testing.T) {
	for _, rest := range []string{"", "/", "/left-pad", "/@acme%2fthing", "/a//b/", "/" + strings.Repeat("x", 5000)} {
		path := key.Path(ticket.NPM, first, 3, expires) + rest
		id, attempt, got, err := key.Check(ticket.NPM, path, now)
		if err != nil || id != first || attempt != 3 || got != rest {
			t.Errorf("rest %.20q: %s, %d, %.20q, %v", rest, id, attempt, got, err)
		}
	}
}

func TestPathIsStable(t *testing.T) {
	// Another release has to take the tickets of pods that are under way.
	const want = "/source/0b8f6f52-6b3c-5d3f-8b1e-4f6a0a9f1c11/1/1800000060/"
	path := key.Path(ticket.Source, first, 1, expires)
	token, ok := strings.CutPrefix(path, want)
	if !ok || len(token) != 43 {
		t.Errorf("got %s", path)
	}
}

// forge changes one field of a genuine path.
func forge(path string, field int, to string) string {
	fields := strings.Split(path, "/")
	fields[field] = to
	return strings.Join(fields, "/")
}

func TestCheckRefuses(t *testing.T) {
	genuine := key.Path(ticket.NPM, first, 1, expires)
	token := genuine[strings.LastIndexByte(genuine, '/')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	other := ticket.Key(strings.Repeat("o", ticket.MinKey))
	for name, c := range map[string]struct {
		path string
		kind fault.Kind
	}{
		"another scan":         {forge(genuine, 2, string(second)), fault.Unauthorized},
		"another attempt":      {forge(genuine, 3, "2"), fault.Unauthorized},
		"another time":         {forge(genuine, 4, "1800000061"), fault.Unauthorized},
		"another key":          {other.Path(ticket.NPM, first, 1, expires), fault.Unauthorized},
		"another purpose's":    {forge(key.Path(ticket.Source, first, 1, expires), 1, ticket.NPM), fault.Unauthorized},
		"expired":              {key.Path(ticket.NPM, first, 1, now), fault.Unauthorized},
		"one bit":              {forge(genuine, 5, base64.RawURLEncoding.EncodeToString(append([]byte{raw[0] ^ 1}, raw[1:]...))), fault.Unauthorized},
		"for another purpose":  {key.Path(ticket.Source, first, 1, expires), fault.Invalid},
		"upper-case scan":      {forge(genuine, 2, strings.ToUpper(string(first))), fault.Invalid},
		"no scan":              {forge(genuine, 2, "x"), fault.Invalid},
		"padded attempt":       {forge(genuine, 3, "01"), fault.Invalid},
		"signed attempt":       {forge(genuine, 3, "+1"), fault.Invalid},
		"attempt zero":         {forge(genuine, 3, "0"), fault.Invalid},
		"attempt too high":     {forge(genuine, 3, "1000001"), fault.Invalid},
		"padded time":          {forge(genuine, 4, "01800000060"), fault.Invalid},
		"time beyond a number": {forge(genuine, 4, "99999999999999999999"), fault.Invalid},
		"padded token":         {genuine + "=", fault.Invalid},
		"short token":          {genuine[:len(genuine)-2], fault.Invalid},
		"long token":           {genuine + "AA", fault.Invalid},
		"line end in token":    {genuine + "\n", fault.Invalid},
		"escaped":              {strings.Replace(genuine, "-", "%2d", 1), fault.Invalid},
		"no token":             {forge(genuine, 5, ""), fault.Invalid},
		"too short":            {"/npm/" + string(first), fault.Invalid},
		"empty":                {"", fault.Invalid},
		"very long":            {"/npm/" + strings.Repeat("a", 1<<16), fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := key.Check(ticket.NPM, c.path, now)
			if err == nil || fault.KindOf(err) != c.kind {
				t.Fatalf("%v, want %v", err, c.kind)
			}
			if strings.Contains(err.Error(), token) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

// TestLastCharacter checks that no second spelling of a token is taken: 43
// characters hold two bits more than 32 bytes.
func TestLastCharacter(t *testing.T) {
	genuine := key.Path(ticket.NPM, first, 1, expires)
	taken := 0
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if _, _, _, err := key.Check(ticket.NPM, genuine[:len(genuine)-1]+string(c), now); err == nil {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d spellings of one ticket are taken", taken)
	}
}

func TestPathPanicsOnWhatCheckWouldNotTake(t *testing.T) {
	for name, f := range map[string]func(){
		"purpose":   func() { key.Path("a/b", first, 1, expires) },
		"no scan":   func() { key.Path(ticket.NPM, "x", 1, expires) },
		"attempt":   func() { key.Path(ticket.NPM, first, 0, expires) },
		"time":      func() { key.Path(ticket.NPM, first, 1, time.Time{}) },
		"empty key": func() { ticket.Key(nil).Path(ticket.NPM, first, 1, expires) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestReadKey(t *testing.T) {
	dir := t.TempDir()
	file := func(content string) string {
		name := filepath.Join(dir, fmt.Sprint(len(content)))
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	read := func(name string) (ticket.Key, error) {
		return ticket.ReadKey(func(v string) string {
			if v == ticket.Env {
				return name
			}
			return ""
		})
	}
	good := strings.Repeat("k", ticket.MinKey)
	if k, err := read(file(good + "\n")); err != nil || !bytes.Equal(k, []byte(good)) {
		t.Errorf("%d bytes, %v", len(k), err)
	}
	for name, f := range map[string]string{
		"unset": "", "no file": filepath.Join(dir, "none"), "short": file("short"), "long": file(strings.Repeat("k", 5000)),
	} {
		if k, err := read(f); err == nil || k != nil || !strings.Contains(err.Error(), ticket.Env) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	if s := fmt.Sprintf("%v %s %#v %+v", key, key, key, key); strings.Contains(s, "kkk") || strings.Contains(s, "107") {
		t.Error(s)
	}
}

func FuzzCheck(f *testing.F) {
	genuine := key.Path(ticket.NPM, first, 1, expires)
	for _, s := range []string{genuine, genuine + "/left-pad", "/npm/a/b/c/d", "/npm/", "//npm", genuine[:40], strings.ReplaceAll(genuine, "/", "//")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id, attempt, rest, err := key.Check(ticket.NPM, path, now)
		if err != nil {
			return
		}
		// The one path of this ticket that the corpus can know, and nothing but.
		if path != key.Path(ticket.NPM, id, attempt, expires)+rest {
			t.Errorf("a second spelling is taken: %q", path)
		}
		if rest != "" && rest[0] != '/' {
			t.Errorf("rest %q of %q", rest, path)
		}
	})
}
