package binaries_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// each runs a test on every program that can be started here.
func each(t *testing.T, test func(t *testing.T, name string, p program)) {
	for name, p := range programs() {
		t.Run(name, func(t *testing.T) {
			if p.apart != "" {
				t.Skip(p.apart)
			}
			test(t, name, p)
		})
	}
}

func TestEveryProgramIsListed(t *testing.T) {
	mains, err := filepath.Glob("../../functions/*/cmd/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range mains {
		names = append(names, filepath.Base(filepath.Dir(m)))
		text, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > 15 {
			t.Errorf("%s has %d lines: what it does belongs into the function's package", m, n)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(programs())), names); diff != "" {
		t.Errorf("listed here, and there (-want +got):\n%s", diff)
	}
}

func TestSizes(t *testing.T) {
	for name, p := range programs() {
		info, err := os.Stat(filepath.Join(rig.dir, "bin", name))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes %s", name, info.Size(), p.heavy)
		if p.heavy == "" && info.Size() > maxSize {
			t.Errorf("%s: %d bytes, at most %d are allowed; `go list -deps` and `go tool nm -size -sort size` say why", name, info.Size(), maxSize)
		}
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	each(t, func(t *testing.T, name string, p program) {
		for _, missing := range p.needs {
			code, text := refusal(t, name, p.environment(missing))
			if code != 1 || !strings.HasPrefix(text, name+": ") || !strings.Contains(text, missing) || strings.Count(text, "\n") != 1 {
				t.Errorf("without %s: exit code %d, %q, want 1 and one line that names it", missing, code, text)
			}
		}
	})
}

// TestRefusesAUserInAnAddress: an address stands in manifests and in logs.
func TestRefusesAUserInAnAddress(t *testing.T) {
	each(t, func(t *testing.T, name string, p program) {
		env := append(p.environment(), "NATS_URL=nats://user:hunter2@127.0.0.1:1")
		code, text := refusal(t, name, env)
		if code != 1 || !strings.Contains(text, "NATS_URL holds a user") || strings.Contains(text, "hunter2") {
			t.Errorf("exit code %d, %q, want 1, the reason and no password", code, text)
		}
	})
}

// TestSaysThatNATSIsAway: it waits, as both may start at once, until it is
// asked to end.
func TestSaysThatNATSIsAway(t *testing.T) {
	each(t, func(t *testing.T, name string, p program) {
		run := launch(t, name, append(p.environment(), "NATS_URL=nats://127.0.0.1:1"))
		for end := time.Now().Add(patience); !strings.Contains(run.said(), "NATS is not there yet"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it does not say that it waits:\n%s", run.said())
			}
		}
		run.terminate(t)
		var exit *exec.ExitError
		if err := run.wait(t); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(run.said(), name+": connect to NATS") {
			t.Errorf("it ended with %v, want code 1 and the reason\n%s", err, run.said())
		}
	})
}

func TestServesAndDrains(t *testing.T) {
	each(t, func(t *testing.T, name string, p program) {
		run := start(t, name, p.environment())
		for path, want := range map[string]string{"/healthz": "", "/readyz": "", "/metrics": "process_resident_memory_bytes"} {
			if code, body := get(t, run, path); code != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s: %d %.200s", path, code, body)
			}
		}
		drains(t, run)
	})
}

// drains asks a process to end while it reads a request, and sees it answer that
// request, accept no other, and end without an error.
func drains(t *testing.T, run *process) {
	conn, err := net.DialTimeout("tcp", run.address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	const body = `{"malformed":`
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cloudevents+json\r\nX-Gitlab-Token: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", token, len(body))
	// The server asks for the body once a handler reads it.
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v, want to be asked for the body", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	run.terminate(t)
	for dialled := time.Now(); ; time.Sleep(time.Millisecond) {
		other, err := net.DialTimeout("tcp", run.address, patience)
		if err != nil {
			break // it listens no more
		}
		_ = other.Close()
		if time.Since(dialled) > patience {
			t.Fatal("it listens on after SIGTERM")
		}
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request under way got no answer: %v\n%s", err, run.said())
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("the request under way: %s, want 400, as malformed", resp.Status)
	}
	if err := run.wait(t); err != nil {
		t.Errorf("it ended with %v\n%s", err, run.said())
	}
}

func get(tb testing.TB, run *process, path string) (int, string) {
	tb.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + run.address + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// BenchmarkFirstAnswer measures from exec to the first answered request. The
// goal is 50 ms.
func BenchmarkFirstAnswer(b *testing.B) {
	for name, p := range programs() {
		b.Run(name, func(b *testing.B) {
			if p.apart != "" {
				b.Skip(p.apart)
			}
			env := p.environment()
			for b.Loop() {
				run := start(b, name, env)
				if code, body := get(b, run, "/readyz"); code != http.StatusOK {
					b.Fatal(code, body)
				}
				b.StopTimer()
				run.terminate(b)
				if err := run.wait(b); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/start")
		})
	}
}
