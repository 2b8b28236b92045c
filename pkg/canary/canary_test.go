package canary_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/canary"
)

var seed = canary.Seed{1, 2, 3}

// entry is the value of one variable of a set.
func entry(t testing.TB, s *canary.Set, name string) string {
	t.Helper()
	for _, e := range s.Env() {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	t.Fatalf("no variable %s", name)
	return ""
}

func names(hits []canary.Hit) []string {
	var out []string
	for _, h := range hits {
		out = append(out, h.Name)
	}
	return out
}

// Who knows the seed makes the same canaries; another seed shares none.
func TestDerived(t *testing.T) {
	a, again, b := canary.New(seed), canary.New(seed), canary.New(canary.NewSeed())
	if d := cmp.Diff(a.Files(), again.Files()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(a.Env(), again.Env()); d != "" {
		t.Error(d)
	}
	for _, f := range b.Files() {
		if hits := a.Find(f.Data); len(hits) > 0 {
			t.Errorf("%s of another seed has %v", f.Path, hits)
		}
	}
	for _, e := range b.Env() {
		if hits := a.Find([]byte(e)); len(hits) > 0 || a.Inherited(e) {
			t.Errorf("%s of another seed has %v", e, hits)
		}
	}
}

// Each file names the credential in it, whatever is done to it as a whole.
func TestEachFileIsFound(t *testing.T) {
	s := canary.New(seed)
	for _, f := range s.Files() {
		for _, e := range encodings {
			if got := names(s.Find([]byte(e.encode(string(f.Data))))); !slices.Contains(got, f.Name) {
				t.Errorf("%s, %s: %v", f.Path, e.name, got)
			}
		}
		if name, ok := canary.At("/root", "/w", path.Join(map[canary.Place]string{canary.Home: "/root", canary.Project: "/w"}[f.Place], f.Path)); !ok || name != f.Name {
			t.Errorf("%s holds %s, and At says %q", f.Path, f.Name, name)
		}
	}
	for _, e := range s.Env() {
		k, v, _ := strings.Cut(e, "=")
		if got := names(s.Find([]byte("x" + v))); !slices.Equal(got, []string{"variable " + k}) || !s.Inherited(e) {
			t.Errorf("%s: %v, inherited %v", k, got, s.Inherited(e))
		}
	}
}

var encodings = []struct {
	name   string
	encode func(string) string
}{
	{"plain", func(s string) string { return s }},
	{"lower case", strings.ToLower},
	{"base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64, second alignment", func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s)) }},
	{"base64, third alignment", func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("xy" + s)) }},
	{"base64 in lines", func(s string) string {
		return wrap(base64.StdEncoding.EncodeToString([]byte(s)), 76, "\r\n")
	}},
	{"base64 twice", func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte("{" + base64.StdEncoding.EncodeToString([]byte("ab"+s))))
	}},
	{"base64 reversed", func(s string) string { return reversed(base64.StdEncoding.EncodeToString([]byte(s))) }},
	{"base64 of reversed", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(reversed(s))) }},
	{"base64 of hex", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString([]byte(s)))) }},
	{"base32", func(s string) string { return base32.StdEncoding.EncodeToString([]byte("xyz" + s)) }},
	{"base32 of a host", func(s string) string {
		return wrap(strings.ToLower(base32.StdEncoding.EncodeToString([]byte(s))), 60, ".") + ".example.com"
	}},
	{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"upper-case hex", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }},
	{"hex with colons", func(s string) string { return wrap(hex.EncodeToString([]byte(s)), 2, ":") }},
	{"escaped", url.QueryEscape},
	{"all escaped", func(s string) string { return "%" + wrap(hex.EncodeToString([]byte(s)), 2, "%") }},
	{"reversed", reversed},
	{"in lines", func(s string) string { return wrap(s, 5, "\n") }},
	{"UTF-16", func(s string) string { return wrap(s, 1, "\x00") }},
	{"codes", func(s string) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ","), "[]") }},
	{"gzip", func(s string) string { return "header" + gzipped(s) }},
	{"gzip, cut", func(s string) string { g := gzipped(s + strings.Repeat("tail", 999)); return g[:len(g)-9] }},
	{"gzip, base64", func(s string) string { return `{"d":"` + base64.URLEncoding.EncodeToString([]byte(gzipped(s))) + `"}` }},
	{"gzip, hex", func(s string) string { return "d=" + hex.EncodeToString([]byte(gzipped(s))) + "&e" }},
	{"zlib", func(s string) string { return "x" + deflated(s) }},
	{"zlib, base64", func(s string) string { return "d=" + base64.StdEncoding.EncodeToString([]byte(deflated(s))) }},
}

func reversed(s string) string { b := []byte(s); slices.Reverse(b); return string(b) }

func wrap(s string, n int, sep string) string {
	var parts []string
	for ; len(s) > n; s = s[n:] {
		parts = append(parts, s[:n])
	}
	return strings.Join(append(parts, s), sep)
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func deflated(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// A value is found however its writes cut it, and by half of it.
func TestSplit(t *testing.T) {
	s := canary.New(seed)
	text := "token=" + entry(t, s, "NPM_TOKEN") + "&"
	want := []canary.Hit{{Name: "variable NPM_TOKEN", Form: "plain"}}
	for cut := range len(text) {
		var st canary.Stream
		got := append(s.Matcher().Scan(&st, []byte(text[:cut])), s.Matcher().Scan(&st, []byte(text[cut:]))...)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("cut at %d: %v", cut, got)
		}
	}
	var st canary.Stream
	var got []canary.Hit
	for _, b := range []byte(text) {
		got = append(got, s.Matcher().Scan(&st, []byte{b})...)
	}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("byte by byte: %v", got)
	}
	value := entry(t, s, "AWS_SECRET_ACCESS_KEY")
	for _, half := range []string{value[:len(value)/2], value[len(value)/2:]} {
		if len(s.Find([]byte(half))) != 1 {
			t.Error("half of a value is not found")
		}
	}
}

func TestNothingIsFoundInOtherText(t *testing.T) {
	s := canary.New(seed)
	for _, text := range []string{"", "npm_", strings.Repeat("0", 1000), strings.Repeat("AKIA", 99), "aws_access_key_id = \naws_secret_access_key = ",
		strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", 20), "\x1f\x8b\x08", "x\x9c", "H4sI", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"} {
		if hits := s.Find([]byte(text)); len(hits) > 0 {
			t.Errorf("%.30q: %v", text, hits)
		}
	}
}

// A redacted text has no canary left, and all else.
func TestRedact(t *testing.T) {
	s := canary.New(seed)
	token, key := entry(t, s, "NPM_TOKEN"), entry(t, s, "AWS_SECRET_ACCESS_KEY")
	text := "curl -d " + token + " -H x:" + base64.StdEncoding.EncodeToString([]byte("k="+key)) + " http://127.0.0.1/?a=" + wrap(token[4:], 6, " ") + "&b=1"
	got := s.Redact(text)
	if s.Find([]byte(got)) != nil || !strings.HasPrefix(got, "curl -d [variable NPM_TOKEN, plain] -H x:[variable AWS_SECRET_ACCESS_KEY, base64] http://127.0.0.1/?a=[") || !strings.HasSuffix(got, "]&b=1") {
		t.Error(got)
	}
	for _, text := range []string{"", "npm ci", "curl -d x"} {
		if got := s.Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestSeed(t *testing.T) {
	s := canary.NewSeed()
	if got, err := canary.ParseSeed(s.Hex()); err != nil || got != s {
		t.Error(err)
	}
	for _, bad := range []string{"", "00", s.Hex() + "00", strings.Repeat("x", 64)} {
		if _, err := canary.ParseSeed(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if text := fmt.Sprintf("%v %s", s, s); strings.Contains(text, s.Hex()[:8]) {
		t.Error("a printed seed is readable")
	}
}

func FuzzFind(f *testing.F) {
	s := canary.New(seed)
	for _, e := range encodings {
		f.Add([]byte(e.encode(entry(f, s, "NPM_TOKEN"))), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		all := s.Matcher().Scan(new(canary.Stream), b)
		cut = min(max(cut, 0), len(b))
		var st canary.Stream
		parts := append(s.Matcher().Scan(&st, b[:cut]), s.Matcher().Scan(&st, b[cut:])...)
		for _, h := range all {
			if !slices.Contains(names(parts), h.Name) {
				t.Errorf("%s is lost at a cut", h.Name)
			}
		}
		if len(s.Find(b)) < len(all) {
			t.Error("Find finds less than Scan")
		}
		if len(s.Matcher().Scan(new(canary.Stream), []byte(s.Redact(string(b))))) > 0 && len(all) == 0 {
			t.Error("Redact makes a canary")
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		canary.New(seed)
	}
}

func BenchmarkScan(b *testing.B) {
	s := canary.New(seed)
	text := bytes.Repeat([]byte("module.exports = function (a, b) { return a.concat(b).map((x) => x * 2) } // "), 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Matcher().Scan(new(canary.Stream), text)
	}
}
