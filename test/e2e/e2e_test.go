// Package e2e tests the program that users get: the statically built binary,
// started as a process of its own, on the embedded default. Scans install from
// a registry on loopback; nothing else is contacted.
//
// After each test the account it ran under is searched: no process, no mount
// and no file of a sandbox may be left.
package e2e

import (
	"debug/elf"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/falconer-sec/falconer/test/corpus"
)

// shared is what all tests use and none changes.
var shared struct {
	dir      string // readable by everybody
	program  string
	cases    map[string]corpus.Case
	registry string // address, with a slash at its end
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("/tmp", "fe2e-") // short: names of sockets are, too
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755) //nolint:gosec // an unprivileged account runs the program
	}
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	cases, err := corpus.Load(corpus.FS)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	shared.cases = map[string]corpus.Case{}
	for _, c := range cases {
		shared.cases[c.Name] = c
	}
	reg, err := corpus.Registry(cases, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	server := httptest.NewServer(reg)
	defer server.Close()
	shared.registry = server.URL + "/"
	return m.Run()
}

// prepare builds the program as `make build` does.
func prepare(dir string) error {
	shared.dir, shared.program = dir, filepath.Join(dir, "falconer")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", shared.program, "../../cmd/falconer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build falconer: %w\n%s", err, out)
	}
	return nil
}

// One static file is all that has to be installed.
func TestStatic(t *testing.T) {
	f, err := elf.Open(shared.program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program needs a dynamic loader")
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil || len(libs) > 0 {
		t.Errorf("the program needs %q, %v", libs, err)
	}
}

// closedPort is a loopback address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
