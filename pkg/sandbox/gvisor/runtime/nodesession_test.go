package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stockSession is what docs/runtimeclass.md has an administrator write, cut short.
const stockSession = `{"trace_session": {"name": "Default",
	"sinks": [{"name": "remote", "config": {"endpoint": "/run/trace/events.sock", "retries": 100000, "backoff": "20us", "backoff_max": "2ms"}}],
	"points": [{"name": "sentry/clone", "context_fields": ["time"]},
		{"name": "syscall/openat/exit", "optional_fields": ["fd_path"], "context_fields": ["time", "container_id"]}]}}`

type sessionFile struct {
	Session struct {
		Name   string
		Points []struct {
			Name    string
			Context []string `json:"context_fields"`
		}
		Sinks []struct {
			Name   string
			Config Options
			Ignore bool `json:"ignore_setup_error"`
		}
	} `json:"trace_session"`
}

func TestNodeSession(t *testing.T) {
	text, changed, err := NodeSession([]byte(stockSession), []string{"A", "B"})
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	var got sessionFile
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Session.Sinks) != 1 || got.Session.Sinks[0].Name != SinkName || got.Session.Sinks[0].Ignore {
		t.Fatalf("sinks %+v", got.Session.Sinks)
	}
	want := Options{Endpoint: "/run/trace/events.sock", Env: []string{"A", "B"}, QuietReads: imageReads, System: imageDirs, PatienceMS: 200_000}
	if d := cmp.Diff(want, got.Session.Sinks[0].Config); d != "" {
		t.Error(d)
	}
	var names []string
	for _, p := range got.Session.Points {
		names = append(names, p.Name)
		if !slices.Contains(p.Context, "container_id") {
			t.Errorf("%s does not say which container it is of", p.Name)
		}
	}
	for _, p := range points {
		if !slices.Contains(names, p.PointName()) {
			t.Errorf("the point %s is not in the session", p.PointName())
		}
	}
	for _, n := range []string{"container/start", "sentry/clone", "sentry/execve", "sentry/task_exit"} {
		if !slices.Contains(names, n) {
			t.Errorf("the point %s is not in the session", n)
		}
	}
	// A sandbox of ours has one container, and no need to name it.
	alone, err := Session(Options{}, nil, nil)
	if err != nil || strings.Contains(string(alone), "container_id") {
		t.Errorf("%v: %s", err, alone)
	}
}

func TestSessionsOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		text    string
		problem string
	}{
		"our sink by name": {`{"trace_session":{"name":"Default","sinks":[{"name":"falconer","config":{"endpoint":"/s"}}]}}`, ""},
		"another sink":     {`{"trace_session":{"name":"Default","sinks":[{"name":"null"}]}}`, ""},
		"two sinks":        {strings.Replace(stockSession, `"sinks": [`, `"sinks": [{"name": "null"},`, 1), ""},
		"no sink":          {`{"trace_session":{"name":"Default"}}`, ""},
		"nothing":          {``, "EOF"},
		"a typing error":   {strings.Replace(stockSession, "trace_session", "trace_sesion", 1), "unknown field"},
		"no endpoint":      {strings.Replace(stockSession, "endpoint", "endpont", 1), "no endpoint"},
		"an odd endpoint":  {strings.Replace(stockSession, `"/run/trace/events.sock"`, "7", 1), "no endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			text, changed, err := NodeSession([]byte(tt.text), nil)
			if changed || text != nil || (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s, %v, %v", text, changed, err)
			}
		})
	}
}

func TestIgnoredSetupErrorStaysIgnored(t *testing.T) {
	text, _, err := NodeSession([]byte(strings.Replace(stockSession, `"sinks": [{`, `"sinks": [{"ignore_setup_error": true,`, 1)), nil)
	var got sessionFile
	if err != nil || json.Unmarshal(text, &got) != nil || !got.Session.Sinks[0].Ignore {
		t.Errorf("%v: %s", err, text)
	}
}

// TestSessionFile reads the session as gVisor does: by its path, more than once.
func TestSessionFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(file, []byte(stockSession), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := nodeSession(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := NodeSession([]byte(stockSession), nil)
	for range 2 {
		got, err := os.ReadFile(path)
		if err != nil || string(got) != string(want) {
			t.Errorf("%v: %s", err, got)
		}
	}
	if err := os.WriteFile(file, []byte(`{"trace_session":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := nodeSession(file, nil); err != nil || path != file {
		t.Errorf("a session of others: %s, %v", path, err)
	}
	if err := os.WriteFile(file, make([]byte, maxSession+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nodeSession(file, nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file without end: %v", err)
	}
}

func TestPatience(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{}`: maxPatience, `{"retries": 500, "backoff_max": "2ms"}`: time.Second, `{"retries": 1e300, "backoff_max": "9h"}`: maxPatience,
		`{"retries": -1, "backoff_max": "2ms"}`: maxPatience, `{"retries": "x", "backoff_max": 7}`: maxPatience,
	} {
		var config map[string]any
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		if got := patience(config); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
