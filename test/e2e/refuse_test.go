package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// zeros is an endless text that compresses well.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb is a small archive of a project whose one large file is size bytes.
func bomb(t *testing.T, f files, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for name, text := range f {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(tw, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What can't be scanned is refused with exit code 4 and a reason that names
// what is wrong, before any sandbox starts.
func TestRefused(t *testing.T) {
	a := newAccount(t)
	benign := project(t, "benign-plain")
	manifest, lock := benign["package.json"], benign["package-lock.json"]
	evil := func(h tar.Header) []byte {
		e := []entry{{tar.Header{Name: "package.json", Mode: 0o644, Size: int64(len(manifest))}, manifest},
			{tar.Header{Name: "package-lock.json", Mode: 0o644, Size: int64(len(lock))}, lock}}
		return tarball(t, append(e, entry{h, ""})...)
	}
	for name, test := range map[string]struct {
		args []string
		says []string
	}{
		"no such path":         {[]string{filepath.Join(a.home, "nowhere")}, []string{"nowhere", "no such file"}},
		"no lockfile":          {[]string{a.write("bare", files{"package.json": manifest})}, []string{"package.json has no package-lock.json"}},
		"empty folder":         {[]string{a.write("empty", files{"x/.keep": ""})}, []string{"no lockfile"}},
		"broken lockfile":      {[]string{a.write("broken", files{"package.json": manifest, "package-lock.json": "{"})}, []string{"package-lock.json"}},
		"no archive":           {[]string{a.put("text.tgz", []byte("this is no archive"))}, []string{"gzip"}},
		"truncated archive":    {[]string{a.put("cut.tgz", archive(t, "p", benign)[:100])}, []string{"archive"}},
		"traversal":            {[]string{a.put("up.tgz", evil(tar.Header{Name: "../../escaped", Mode: 0o644}))}, []string{"../../escaped"}},
		"absolute name":        {[]string{a.put("abs.tgz", evil(tar.Header{Name: "/escaped", Mode: 0o644}))}, []string{"/escaped"}},
		"link out":             {[]string{a.put("link.tgz", evil(tar.Header{Name: "way", Linkname: "../../../etc", Typeflag: tar.TypeSymlink}))}, []string{"way"}},
		"hard link out":        {[]string{a.put("hard.tgz", evil(tar.Header{Name: "way", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}))}, []string{"way"}},
		"device":               {[]string{a.put("dev.tgz", evil(tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}))}, []string{"disk"}},
		"bomb":                 {[]string{a.put("bomb.tgz", bomb(t, benign, 3<<30))}, []string{"big"}},
		"terminal escapes":     {[]string{a.put("esc.tgz", evil(tar.Header{Name: "../\x1b]0;owned\x07\x1b[2J", Mode: 0o644}))}, []string{"owned"}},
		"hostile lockfile":     {[]string{a.write("esc", files{"package.json": manifest, "package-lock.json": `{"lockfileVersion":"\u001b[2J\r\u202e"}`})}, []string{"package-lock.json"}},
		"unknown flag":         {[]string{"--frobnicate"}, []string{"--frobnicate"}},
		"unknown format":       {[]string{"--format=xml"}, []string{"xml"}},
		"no duration":          {[]string{"--timeout=soon"}, []string{"timeout"}},
		"too short a time":     {[]string{"--timeout=1ms"}, []string{"--timeout"}},
		"too long a time":      {[]string{"--timeout=1000h"}, []string{"--timeout"}},
		"no size":              {[]string{"--memory=lots"}, []string{"--memory"}},
		"too small a sandbox":  {[]string{"--memory=1MiB"}, []string{"128MiB"}},
		"two paths":            {[]string{"a", "b"}, []string{"1"}},
		"rules that are none":  {[]string{"--rules", a.write("rules", files{"r.yaml": "- rule: x\n  condition: evt.type = (\n  output: x\n  desc: x\n  priority: CRITICAL\n"})}, []string{"r.yaml"}},
		"rules that are away":  {[]string{"--rules", filepath.Join(a.home, "norules")}, []string{"norules"}},
		"a file in the way":    {[]string{"--download-cache", filepath.Join(a.put("file", nil), "x"), a.write("plain", benign)}, []string{"file"}},
		"evidence in a file":   {[]string{"--keep=" + filepath.Join(a.put("file2", nil), "x"), a.write("plain2", benign)}, []string{"file2"}},
		"a cache that is away": {[]string{"--offline", "--cache", filepath.Join(a.home, "nocache"), a.write("plain3", benign)}, []string{"nocache"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &account{t: t, home: a.home, tmp: a.tmp, env: a.env}
			o := a.falconer(append([]string{"scan"}, test.args...)...)
			if o.code != 4 || o.out != "" {
				t.Errorf("exit code %d, output %q, want 4 and none\n%s", o.code, o.out, o.errout)
			}
			message := o.errout
			if i := strings.Index(message, "falconer: "); i > 0 {
				message = message[i:] // after the progress
			}
			if !oneLine(message) {
				t.Errorf("not one line: %q", message)
			}
			for _, want := range test.says {
				if !strings.Contains(message, want) {
					t.Errorf("does not say %q: %s", want, message)
				}
			}
			harmless(t, o.errout)
			if strings.Contains(o.errout, "goroutine ") {
				t.Error("a panic")
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(a.home, "escaped")); err == nil {
		t.Error("an archive wrote outside of its folder")
	}
}

// A lockfile that disagrees with its manifest pins something else than what
// will be installed: no verdict, and the difference is named.
func TestLockfileDisagrees(t *testing.T) {
	a := newAccount(t)
	f := project(t, "benign-plain")
	f["package.json"] = `{"name":"project","version":"1.0.0","dependencies":{"left-pad":"^1.0.0"}}`
	o := a.falconer("scan", "--format=json", a.write("project", f))
	r := one(t, o)
	if o.code != 3 || !strings.Contains(strings.Join(r.Incomplete, "\n"), `lacks dependencies "left-pad"`) {
		t.Errorf("exit code %d, verdict %s, incomplete %q\n%s", o.code, r.Verdict, r.Incomplete, o.errout)
	}
}

// A registry that fails leaves nothing to judge, and the reason is the
// registry's.
func TestRegistryAway(t *testing.T) {
	a := newAccount(t)
	a.env = append(a.env, "npm_config_registry=http://"+closedPort(t)+"/")
	o := a.falconer("scan", "--quiet", a.write("project", project(t, "benign-plain")))
	if o.code != 4 || o.out != "" || !oneLine(o.errout) || !strings.Contains(o.errout, "connection refused") {
		t.Errorf("exit code %d\n%s%s", o.code, o.out, o.errout)
	}
}

// harmless fails if a text could drive a terminal.
func harmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("the output holds %U: %q", r, text)
			return
		}
	}
}

// A command that does not exist, and none at all.
func TestUsage(t *testing.T) {
	a := newAccount(t)
	if o := a.falconer("scann"); o.code != 4 || !strings.Contains(o.errout, "scann") {
		t.Errorf("exit code %d: %s", o.code, o.errout)
	}
	for _, args := range [][]string{{}, {"--help"}, {"scan", "--help"}, {"serve", "-h"}} {
		if o := a.falconer(args...); o.code != 0 || !strings.Contains(o.out, "Usage:") || o.errout != "" {
			t.Errorf("%q: exit code %d\n%s%s", args, o.code, o.out, o.errout)
		}
	}
	o := a.falconer("version")
	if o.code != 0 || !strings.HasPrefix(o.out, "falconer ") || strings.Contains(o.out, "unknown") {
		t.Errorf("version: exit code %d\n%s%s", o.code, o.out, o.errout)
	}
}
