package gvisor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
)

// toolchain is where the package manager and its interpreter come from: the
// host's installation, seen read-only at the same place.
type toolchain struct {
	path    string   // PATH inside the sandbox
	extra   []string // host directories outside of /usr to show
	nodedir string   // prefix with node's headers, for native builds; "" for none
}

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findToolchain looks for programs on the host's PATH. A program outside of
// /usr (a version manager's) brings its installation prefix with it, but never
// a whole home directory.
func findToolchain(programs ...ecosystem.Program) (toolchain, error) {
	t := toolchain{path: basePath}
	for _, program := range programs {
		name := program.Name
		found, err := exec.LookPath(name)
		if err != nil {
			return t, sandbox.Lacks(program)
		}
		if found, err = filepath.Abs(found); err != nil {
			return t, fault.New("gvisor: find "+name, fault.Permanent, err)
		}
		found = realProgram(found, program)
		if err := t.add(name, found); err != nil {
			return t, err
		}
	}
	return t, nil
}

// askTimeout bounds asking a program for its installation.
const askTimeout = 30 * time.Second

// realProgram is the program's file in the installation that it says it belongs
// to (ecosystem.Program.Prefix), or found, if it says nothing of use. It is
// asked at the root folder, where no project has a say.
func realProgram(found string, p ecosystem.Program) string {
	if p.Prefix == nil {
		return found
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, found, p.Prefix...)
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	out, err := cmd.Output()
	prefix := strings.TrimSpace(string(out))
	if err != nil || !filepath.IsAbs(prefix) {
		return found
	}
	real := filepath.Join(prefix, "bin", p.Name)
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		return found
	}
	return real
}

func (t *toolchain) add(name, found string) error {
	real, err := filepath.EvalSymlinks(found)
	if err != nil {
		return fault.New("gvisor: find "+name, fault.Permanent, err)
	}
	bin := filepath.Dir(found)
	if name == "node" {
		t.nodedir = npm.NodeDir(real)
	}
	if within("/bin", bin) {
		return nil
	}
	if !slices.Contains(strings.Split(t.path, ":"), bin) {
		t.path = bin + ":" + t.path
	}
	if within("/usr", bin) && within("/usr", real) {
		return nil
	}
	for _, p := range []string{filepath.Dir(bin), prefixOf(real)} {
		if within("/usr", p) || slices.ContainsFunc(t.extra, func(q string) bool { return within(q, p) }) {
			continue
		}
		if home, _ := os.UserHomeDir(); p == "/" || within(p, home) || within(p, "/etc") {
			return fault.Errorf(fault.Permanent, "%s is installed in %s, which can't be shown to untrusted code: install it under /usr or with a version manager", name, p)
		}
		t.extra = append(t.extra, p)
	}
	return nil
}

// prefixOf is the installation prefix of a program's real file: the directory
// above its bin or lib.
func prefixOf(real string) string {
	for d := filepath.Dir(real); d != "/"; d = filepath.Dir(d) {
		if base := filepath.Base(d); base == "bin" || base == "lib" {
			return filepath.Dir(d)
		}
	}
	return filepath.Dir(real)
}

// within reports whether p is dir or lies below it.
func within(dir, p string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && filepath.IsLocal(rel)
}
