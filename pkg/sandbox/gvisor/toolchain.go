package gvisor

import (
	"context"
	"fmt"
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
		if found, err = realProgram(found, program); err != nil {
			return t, err
		}
		if err := t.add(name, found); err != nil {
			return t, err
		}
	}
	return t, nil
}

// askTimeout bounds asking a program for its installation.
const askTimeout = 30 * time.Second

// realProgram is the program's file in the installation that it belongs to
// (ecosystem.Program.Prefix), found itself where nothing is to be asked. The
// question is put at the root folder, where no project has a say.
func realProgram(found string, p ecosystem.Program) (string, error) {
	if p.Prefix == nil {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Prefix[0], p.Prefix[1:]...)
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	out, err := cmd.Output()
	real := filepath.Join(strings.TrimSpace(string(out)), "bin", p.Name)
	if err == nil && !filepath.IsAbs(real) {
		err = fmt.Errorf("%.100q is no folder", out)
	}
	if err == nil {
		_, err = os.Stat(real)
	}
	if err != nil {
		return "", fault.Errorf(fault.Permanent, "%s: its installation is not found (%.200s): %w", p.Name, strings.Join(p.Prefix, " "), err)
	}
	return real, nil
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
