package registry

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/a", "/@a%2fb", "/@a/b/-/b-1.0.0.tgz", "/..", "/%2e%2e", "/-/ping", "/a/-/a-1.0.0-rc.1+x.tgz", "//a", "/@a%252fb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		r, err := ParsePath(escaped)
		if err != nil {
			return
		}
		if strings.ContainsAny(r.Name+r.Version, "\x00\r\n\\?#% ") || strings.Contains(r.Name, "..") && strings.HasPrefix(baseName(r.Name), "..") {
			t.Errorf("%q became %+v", escaped, r)
		}
		u, err := url.Parse("http://registry.example.com/npm/" + strings.TrimPrefix(r.Path(), "/"))
		if err != nil || u.Host != "registry.example.com" || !strings.HasPrefix(u.Path, "/npm/") {
			t.Errorf("%+v leads to %v, %v", r, u, err)
		}
		if again, err := ParsePath(r.Path()); err != nil || again != r {
			t.Errorf("%+v reads back as %+v, %v", r, again, err)
		}
	})
}

func FuzzRewritePackument(f *testing.F) {
	f.Add([]byte(`{"name":"a","versions":{"1.0.0":{"dist":{"tarball":"https://r.example.com/a.tgz","integrity":"sha512-x"}}}}`))
	f.Add([]byte(`{"versions":{"../x":{"dist":{}},"1.0.0":{"dist":[]},"2.0.0":null}}`))
	f.Add([]byte(`{"versions":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		out, err := rewritePackument(doc, "a", DefaultBase)
		if err != nil {
			return
		}
		_, versions, err := parsePackument(out)
		if err != nil {
			t.Fatalf("rewritten into %s: %v", out, err)
		}
		for v := range versions {
			d, err := distOf(out, v)
			if err != nil || d.Tarball != archiveURL(DefaultBase, "a", v) {
				t.Errorf("version %q: %+v, %v", v, d, err)
			}
		}
	})
}

func FuzzParseBucket(f *testing.F) {
	s := readStore(f.TempDir())
	e := newIndexEntry("http://127.0.0.1:4873/a", "", "application/json", digest{"sha512", strings.Repeat("x", 64)}, 1, time.Unix(0, 0))
	line, err := json.Marshal(e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\n0000\t" + string(line)))
	f.Add([]byte("\t\n\n\t"))
	if err := s.index(e); err != nil {
		f.Fatal(err)
	}
	if got, ok := s.lookup(e.Key); !ok || got.Integrity != e.Integrity {
		f.Fatalf("an entry reads back as %+v, %v", got, ok)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := parseBucket(b, e.Key); ok && got.Key != e.Key {
			t.Errorf("found %+v", got)
		}
	})
}

func FuzzParseIntegrity(f *testing.F) {
	f.Add("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==")
	f.Add("sha512-?x sha256-AA== md5-AA==")
	f.Fuzz(func(t *testing.T, s string) {
		for _, d := range parseIntegrity(s) {
			if again := parseIntegrity(d.String()); len(again) != 1 || again[0] != d {
				t.Errorf("%v reads back as %v", d, again)
			}
			_ = readStore("x").path(d) // slices the hex digest
		}
	})
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(`{"registry":"https://r.example.com/","ca":["x"],"noproxy":"a"}`), []byte("//h/:_authToken=${A?}\n//h/:_password=!\n"))
	f.Fuzz(func(t *testing.T, answer, npmrc []byte) {
		var all map[string]json.RawMessage
		if json.Unmarshal(answer, &all) == nil {
			for _, file := range []string{"cafile", "userconfig", "globalconfig"} {
				delete(all, file) // don't open what the fuzzer names
			}
			answer, _ = json.Marshal(all)
		}
		_, _ = parseSettings(answer, nil) // must not panic
		for at, c := range ParseAuth(npmrc, []string{"A=b"}) {
			if strings.ContainsAny(c.token+c.basic, "\r\n") {
				t.Errorf("%s: credentials with a line break", at)
			}
		}
	})
}

func TestIntegrityPicksTheStrongest(t *testing.T) {
	const sha512 = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
	got := parseIntegrity("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= " + sha512 + "?opt md5-x")
	if len(got) != 1 || got[0].String() != sha512 {
		t.Errorf("got %v", got)
	}
}

func TestInstallable(t *testing.T) {
	for _, tt := range []struct {
		os, cpu, libc []string
		want          bool
	}{
		{nil, nil, nil, true},
		{[]string{"linux"}, []string{"x64"}, []string{"glibc"}, true},
		{[]string{"darwin"}, nil, nil, false},
		{[]string{"!win32"}, nil, nil, true},
		{[]string{"!linux", "linux"}, nil, nil, false},
		{[]string{"any"}, []string{"arm64", "x64"}, nil, true},
		{nil, []string{"arm64"}, nil, false},
		{nil, nil, []string{"musl"}, false},
	} {
		p := ecosystem.Package{OS: tt.os, CPU: tt.cpu, Libc: tt.libc, Optional: true}
		if got := installable(p, "glibc"); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt, got, tt.want)
		}
		p.Optional = false
		if !installable(p, "glibc") {
			t.Errorf("%+v: a required package was left out", tt)
		}
	}
}
