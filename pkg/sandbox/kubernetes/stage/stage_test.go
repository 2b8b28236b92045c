package stage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes/stage"
	"github.com/falconer-sec/falconer/pkg/source"
)

// pack makes an archive of files and says its digest.
func pack(t *testing.T, files map[string]string) (archive []byte, digest string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := source.Pack(t.Context(), dir, &b, source.Limits{}); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), "sha256:" + hex.EncodeToString(sum[:])
}

// volumes makes the directories that a pod's volumes are.
func volumes(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, v := range []string{stage.WorkVolume, stage.HomeVolume, stage.EtcVolume} {
		if err := os.MkdirAll(filepath.Join(dir, v), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newStage(dir string) stage.Stage {
	s := stage.New()
	s.Prefix, s.Pause = dir, time.Millisecond
	return s
}

func TestAPodIsPrepared(t *testing.T) {
	archive, digest := pack(t, map[string]string{"web/package.json": "{}", "web/.npmrc": "version=true\n", "web/a.js": "1", ".npmrc": "x=1\n"})
	busy := 2 // tries that find the registry starting
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy--; busy >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(archive)
	}))
	defer srv.Close()
	dir := volumes(t)
	task := stage.Task{Source: srv.URL + "/source/x", Digest: digest, Root: "web", Withhold: []string{".npmrc", "none"}}
	if err := newStage(dir).Run(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		guest.Work + "/web/package.json": true, guest.Work + "/web/a.js": true, guest.Work + "/.npmrc": true, guest.Work + "/web/.npmrc": false,
		guest.BuilderHome + "/.aws/credentials": true, stage.EtcVolume + "/passwd": true, stage.EtcVolume + "/group": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
	passwd, err := os.ReadFile(filepath.Join(dir, stage.EtcVolume, "passwd"))
	if err != nil || !strings.Contains(string(passwd), "build:x:65532:65532:build:/home/build:") {
		t.Errorf("passwd: %v\n%s", err, passwd)
	}
}

func TestWhatCannotBeStaged(t *testing.T) {
	good, digest := pack(t, map[string]string{"package.json": "{}"})
	other := "sha256:" + strings.Repeat("0", 64)
	answer := func(code int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = w.Write(body) }
	}
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(good)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		digest  string
		root    string
		exit    int
		says    string
	}{
		"another archive":  {answer(200, good), other, ".", stage.ExitInvalid, "digest"},
		"no archive":       {answer(200, []byte("hello")), digest, ".", stage.ExitInvalid, "gzip"},
		"trailing bytes":   {answer(200, append(good[:len(good):len(good)], "more"...)), digest, ".", stage.ExitInvalid, ""},
		"cut off":          {broken, digest, ".", stage.ExitFailed, ""},
		"used ticket":      {answer(410, nil), digest, ".", stage.ExitRefused, "ticket"},
		"forged ticket":    {answer(401, nil), digest, ".", stage.ExitRefused, "ticket"},
		"no such source":   {answer(404, nil), digest, ".", stage.ExitInvalid, "404"},
		"redirect":         {http.RedirectHandler("http://example.com/", http.StatusFound).ServeHTTP, digest, ".", stage.ExitInvalid, "302"},
		"no such root":     {answer(200, good), digest, "web", stage.ExitInvalid, `"web"`},
		"root is a file":   {answer(200, good), digest, "package.json", stage.ExitInvalid, "package.json"},
		"beyond its limit": {answer(200, good), digest, ".", stage.ExitInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.handler)
			defer srv.Close()
			s := newStage(volumes(t))
			if name == "beyond its limit" {
				s.Limits.Archive = 10
			}
			err := s.Run(t.Context(), stage.Task{Source: srv.URL + "/source/the-token", Digest: c.digest, Root: c.root})
			if stage.Exit(err) != c.exit || !strings.Contains(err.Error(), c.says) {
				t.Errorf("exit %d, %v, want %d and %q", stage.Exit(err), err, c.exit, c.says)
			}
			if strings.Contains(err.Error(), "the-token") {
				t.Errorf("the error holds the ticket: %v", err)
			}
		})
	}
}

func TestARegistryThatIsNotThere(t *testing.T) {
	var tries atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { tries.Add(1); panic(http.ErrAbortHandler) }))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := newStage(volumes(t)).Run(ctx, stage.Task{Source: srv.URL + "/the-token", Digest: "x", Root: "."})
	if stage.Exit(err) != stage.ExitFailed || strings.Contains(err.Error(), "the-token") || tries.Load() < 2 {
		t.Errorf("after %d tries: %v", tries.Load(), err)
	}
}

func TestATaskGoesThroughTheEnvironment(t *testing.T) {
	task := stage.Task{Source: "http://192.0.2.1/source/a", Digest: "sha256:" + strings.Repeat("ab", 32), Root: "a b/ü", Canary: canary.Seed{1, 2}, Withhold: []string{".npmrc", `a"b`}}
	env := map[string]string{}
	for _, v := range task.Env() {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	got, err := stage.FromEnv(func(n string) string { return env[n] })
	if diff := cmp.Diff(task, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, bad := range map[string]string{"FALCONER_STAGE_SOURCE": "", "FALCONER_STAGE_DIGEST": "md5:1", "FALCONER_STAGE_ROOT": "../x", "FALCONER_STAGE_CANARY": "0", "FALCONER_STAGE_WITHHOLD": `["../a"]`} {
		_, err := stage.FromEnv(func(n string) string {
			if n == name {
				return bad
			}
			return env[n]
		})
		if fault.KindOf(err) != fault.Invalid || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, bad, err)
		}
	}
	if _, err := stage.FromEnv(func(n string) string {
		if n == "FALCONER_STAGE_WITHHOLD" {
			return `["."]`
		}
		return env[n]
	}); err == nil {
		t.Error("everything may be withheld")
	}
}

func TestMessageIsOneBoundedLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := stage.Message(file, errors.New("a\nb\x00\xff"+strings.Repeat("ü", 1000))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil || len(b) > 1010 || bytes.ContainsAny(b, "\n\xff") || !bytes.HasPrefix(b, []byte("a b")) {
		t.Errorf("%v, %d bytes: %.20q", err, len(b), b)
	}
}
