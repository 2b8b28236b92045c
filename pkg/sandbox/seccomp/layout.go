package seccomp

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/sandbox/home"
	"github.com/falconer-sec/falconer/pkg/sensor"
)

// layOut fills the run's directory: a copy of the project and of the download
// cache, a made-up home, an empty folder for temporary files. All of it can be
// written, and none of it is the host's.
func layOut(dir string, s sandbox.Spec, recipe ecosystem.Recipe) error {
	const op = "seccomp: lay out the run's directory"
	work := filepath.Join(dir, workFolder)
	if err := os.Mkdir(filepath.Join(dir, tempFolder), 0o700); err != nil {
		return fault.New(op, fault.Transient, err)
	}
	if err := home.Write(filepath.Join(dir, homeFolder), s.Canaries); err != nil {
		return fault.New(op, fault.Transient, err)
	}
	if err := copyTree(s.Dir, work); err != nil {
		return fault.New(op, fault.Transient, err)
	}
	for _, name := range recipe.Withhold {
		if err := os.RemoveAll(filepath.Join(work, filepath.FromSlash(s.Project.Root), name)); err != nil {
			return fault.New(op, fault.Transient, err)
		}
	}
	cache := recipe.CacheDir(filepath.Join(dir, homeFolder))
	if s.CacheDir == "" || cache == "" {
		return nil
	}
	return fault.New(op, fault.Transient, copyTree(s.CacheDir, cache))
}

// copyTree copies folders, regular files and links; a link is copied as it is.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case d.Type().IsRegular():
			return copyFile(p, target)
		}
		return nil
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// tools is where the package manager and its interpreter are.
type tools struct {
	path    string // PATH of the run
	nodedir string // prefix with node's headers, for native builds; "" for none
}

const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findTools looks for programs on the host's PATH.
func findTools(programs ...ecosystem.Program) (tools, error) {
	t := tools{path: basePath}
	for _, program := range programs {
		name := program.Name
		found, err := exec.LookPath(name)
		if err != nil {
			return t, sandbox.Lacks(program)
		}
		if found, err = filepath.Abs(found); err != nil {
			return t, fault.New("seccomp: find "+name, fault.Permanent, err)
		}
		if name == "node" {
			t.nodedir = npm.NodeDir(found)
		}
		if dir := filepath.Dir(found); !slices.Contains(strings.Split(t.path, ":"), dir) {
			t.path = dir + ":" + t.path
		}
	}
	return t, nil
}

// plan is what the launcher gets to know: nothing of the host's environment.
func (d *Driver) plan(dir string, s sandbox.Spec, recipe ecosystem.Recipe, setting ecosystem.Setting, t tools, port uint16) plan {
	temp := filepath.Join(dir, tempFolder)
	return plan{
		Dir: dir, Endpoint: filepath.Join(dir, "s"), Program: d.c.Program, Argv: recipe.Argv, Cwd: setting.Work,
		Environ: append([]string{
			"PATH=" + t.path, "HOME=" + setting.Home, "TMPDIR=" + temp,
			"USER=build", "LOGNAME=build", "SHELL=/bin/sh", "LANG=C.UTF-8",
			"CI=true", "GITLAB_CI=true", "CI_PROJECT_DIR=" + filepath.Join(dir, workFolder), "CI_RUNNER_ID=1742",
			falco.MarkerEnv + "=" + string(s.ScanID),
		}, append(s.Canaries.Env(), recipe.Env...)...),
		Env:          sensor.EnvNames,
		QuietOwn:     own(recipe, temp),
		RegistryPort: port, Root: os.Geteuid() == 0, Driver: os.Getpid(),
		Processes: s.Limits.Processes, MemoryBytes: s.Limits.MemoryBytes, FileBytes: s.Limits.DiskBytes,
		CPUSeconds: int64(2 * s.Limits.Wall.Seconds()), CPUs: int(s.Limits.CPUs + 0.999),
	}
}

// own are the prefixes below which the manager's calls go unreported, where the
// run's temporary folder is.
func own(r ecosystem.Recipe, temp string) []string {
	var out []string
	for _, p := range r.Own {
		if rest, ok := strings.CutPrefix(p, "/tmp/"); ok {
			p = temp + "/" + rest
		}
		out = append(out, p)
	}
	return out
}

// removeAll removes the run's directory, also where the install took its own
// permissions away.
func removeAll(dir string, log *slog.Logger) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // what is to be removed
		}
		if err != nil {
			return fs.SkipDir
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		log.Error("a run's directory stays behind", "dir", dir, "error", err)
	}
}
