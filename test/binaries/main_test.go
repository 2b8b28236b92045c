package binaries_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// rig is what all tests share: the programs, a NATS server, and a broker that
// takes every event.
var rig struct {
	dir  string
	nats string
	sink *httptest.Server
	got  chan []byte // bodies of the events emitted
}

func TestMain(m *testing.M) {
	code, err := withRig(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withRig(tests func() int) (code int, err error) {
	if rig.dir, err = os.MkdirTemp("", "falconer-binaries-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(rig.dir)) }()
	if err := build(); err != nil {
		return 1, err
	}
	stop, err := startNATS()
	if err != nil {
		return 1, err
	}
	defer stop()
	rig.got = make(chan []byte, 100)
	rig.sink = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rig.got <- body
		w.WriteHeader(http.StatusAccepted)
	}))
	defer rig.sink.Close()
	return tests(), nil
}

// build makes the programs as the images have them: static and stripped.
func build() error {
	bin := filepath.Join(rig.dir, "bin") + "/"
	cmd := exec.Command("go", "build", "-ldflags=-s -w -funcalign=4", "-o", bin, "./functions/...")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return errors.Join(os.MkdirAll(filepath.Join(rig.dir, "sources"), 0o755),
		os.WriteFile(filepath.Join(rig.dir, "key"), []byte(strings.Repeat("k", 48)), 0o600))
}

func startNATS() (stop func(), err error) {
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true,
		StoreDir: filepath.Join(rig.dir, "jetstream"), NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		return nil, errors.New("the NATS server does not start")
	}
	rig.nats = ns.ClientURL()
	return func() { ns.Shutdown(); ns.WaitForShutdown() }, nil
}
