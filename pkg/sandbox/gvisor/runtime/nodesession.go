package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/sentry/seccheck"
)

// stockSink is the name of gVisor's own sink, and maxSession bounds the file of
// a trace session, in bytes.
const (
	stockSink  = "remote"
	maxSession = 1 << 20
)

// maxPatience bounds how long a pod waits for a sensor that does not read, and
// so how long it takes to be killed then.
const maxPatience = 200 * time.Second

// Of a pod's image: what a rule looks at in it, the sandbox writes first.
var (
	imageReads = []string{"/usr/", "/lib/", "/lib64/", "/bin/", "/etc/ld.so.cache", "/proc/self/"}
	imageDirs  = []string{"/usr/", "/bin/", "/sbin/", "/lib"}
)

// NodeSession makes of the trace session that a node's administrator wrote for
// stock gVisor the same with our points and our sink: it says where to report,
// what is reported is ours. env names the environment variables reported at an
// exec. changed is false for a session that reports elsewhere than to gVisor's
// remote sink: it is none of ours.
func NodeSession(stock []byte, env []string) (session []byte, changed bool, err error) {
	var file struct {
		Session seccheck.SessionConfig `json:"trace_session"`
	}
	d := json.NewDecoder(bytes.NewReader(stock))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, false, fmt.Errorf("trace session: %w", err)
	}
	var sinks []sinkConfig
	for _, s := range file.Session.Sinks {
		if s.Name != stockSink {
			return nil, false, nil
		}
		endpoint, ok := s.Config["endpoint"].(string)
		if !ok || endpoint == "" {
			return nil, false, fmt.Errorf("trace session: the sink %q has no endpoint", stockSink)
		}
		sinks = append(sinks, sinkConfig{Name: SinkName, IgnoreSetupError: s.IgnoreSetupError,
			Config: Options{Endpoint: endpoint, Env: env, QuietReads: imageReads, System: imageDirs, PatienceMS: patience(s.Config).Milliseconds()}})
	}
	if len(sinks) == 0 {
		return nil, false, nil
	}
	session, err = podSession(sinks)
	return session, err == nil, err
}

// patience is how long stock gVisor would try to send an event with a sink's
// settings.
func patience(config map[string]any) time.Duration {
	retries, _ := config["retries"].(float64)
	text, _ := config["backoff_max"].(string)
	pause, _ := time.ParseDuration(text)
	if seconds := retries * pause.Seconds(); seconds > 0 && seconds < maxPatience.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return maxPatience
}

// podSession tells the containers of a pod apart.
func podSession(sinks []sinkConfig) ([]byte, error) {
	return session(append(slices.Clone(contextFields), "container_id"), sinks)
}

// nodeSession is NodeSession for a file. It returns a path that this process
// can open until it ends: nothing is left behind.
func nodeSession(path string, env []string) (string, error) {
	stock, err := readAtMost(path, maxSession)
	if err != nil {
		return "", fmt.Errorf("trace session: %w", err)
	}
	text, changed, err := NodeSession(stock, env)
	if err != nil || !changed {
		return path, err
	}
	fd, err := unix.MemfdCreate("trace-session", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("trace session: %w", err)
	}
	if n, err := unix.Write(fd, text); err != nil || n != len(text) {
		return "", fmt.Errorf("trace session: wrote %d of %d bytes: %w", n, len(text), err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, err
}
