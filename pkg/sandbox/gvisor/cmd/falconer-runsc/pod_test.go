package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// program is the runtime, built without cgo: a dynamic one can't re-execute
// itself in a sandbox's empty root.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "falconer-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "falconer-runsc")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building falconer-runsc: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// pod calls the runtime as containerd's shim does, for the containers of one
// sandbox.
type pod struct {
	t       *testing.T
	dir     string
	session string // trace session; "" for none
}

func newPod(t *testing.T, session string) *pod {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a node's container runtime runs as root")
	}
	try := exec.Command("/bin/true")
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	if err := try.Run(); err != nil {
		t.Skipf("this root may not make namespaces: %v", err)
	}
	p := &pod{t: t, dir: t.TempDir(), session: session}
	t.Cleanup(func() { // of what a failed test leaves; sandboxes last
		list, _ := filepath.Glob(filepath.Join(p.dir, "bundles", "*"))
		for i := len(list) - 1; i >= 0; i-- {
			_, _ = p.try("delete", "--force", filepath.Base(list[i]))
		}
	})
	return p
}

func (p *pod) command(args ...string) *exec.Cmd {
	all := []string{"--root=" + filepath.Join(p.dir, "state"), "--log=" + filepath.Join(p.dir, "log.json"), "--log-format=json",
		"--platform=systrap", "--network=none", "--gofer-network-namespace=new", "--ignore-cgroups", "--host-settings=ignore"}
	if p.session != "" {
		all = append(all, "--pod-init-config="+p.session)
	}
	return exec.Command(program, append(all, args...)...)
}

// try returns what a command says. It says it to a file: a sandbox may keep the
// output of an exec open for a while.
func (p *pod) try(args ...string) (string, error) {
	out, err := os.CreateTemp(p.dir, "out-")
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said, rerr := os.ReadFile(out.Name())
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, said)
	}
	return string(said), errors.Join(err, rerr)
}

func (p *pod) do(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// create makes a container: the pod's own where sandbox is "", one in the pod's
// sandbox otherwise. Files are written below its root.
func (p *pod) create(id, sandbox string, argv []string, env []string, files map[string]string) {
	p.t.Helper()
	bundle := filepath.Join(p.dir, "bundles", id)
	root := filepath.Join(bundle, "rootfs")
	var errs []error
	for _, d := range []string{"proc", "dev", "usr", "etc", "tmp", "root"} {
		errs = append(errs, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		errs = append(errs, os.Symlink("usr/"+d, filepath.Join(root, d)))
	}
	for name, text := range files {
		at := filepath.Join(root, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o755))
	}
	spec := specs.Spec{
		Version: "1.1.0", Root: &specs.Root{Path: "rootfs"}, Hostname: "pod",
		Annotations: map[string]string{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": id},
		Process:     &specs.Process{Args: argv, Env: append([]string{"PATH=/opt/bin:/usr/bin:/bin"}, env...), Cwd: "/", NoNewPrivileges: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
			{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}}},
	}
	if sandbox != "" {
		spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": sandbox}
	}
	raw, err := json.Marshal(spec)
	errs = append(errs, err, os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600))
	if err := errors.Join(errs...); err != nil {
		p.t.Fatal(err)
	}
	p.do("create", "--bundle", bundle, "--pid-file", filepath.Join(bundle, "pid"), id)
}

// start starts a container. Its output goes to the file that is returned.
func (p *pod) start(id string) (output string) {
	p.t.Helper()
	output = filepath.Join(p.dir, "bundles", id, "output")
	out, err := os.Create(output)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd := p.command("start", id)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(output)
		p.t.Fatalf("start %s: %v: %s", id, err, said)
	}
	return output
}

// wait begins to wait for a container's end, as the shim does from its start on.
func (p *pod) wait(id string) <-chan int {
	status := make(chan int, 1)
	go func() {
		out, err := p.try("wait", id)
		var end struct {
			ExitStatus int `json:"exitStatus"`
		}
		if err := errors.Join(err, json.Unmarshal([]byte(out), &end)); err != nil {
			p.t.Errorf("wait %s: %v", id, err)
		}
		status <- end.ExitStatus
	}()
	return status
}

func (p *pod) ended(status <-chan int) int {
	p.t.Helper()
	select {
	case code := <-status:
		return code
	case <-time.After(time.Minute):
		p.t.Fatal("the container does not end")
		return 0
	}
}

// end kills the pod's own container, and the sandbox with it.
func (p *pod) end(sandbox string) {
	p.t.Helper()
	p.do("kill", sandbox, "9")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := p.try("delete", sandbox)
		if err == nil {
			return
		}
		if time.Now().After(until) {
			p.t.Fatal(err)
		}
	}
}

func (p *pod) status(id string) string {
	p.t.Helper()
	var state specs.State
	if err := json.Unmarshal([]byte(p.do("state", id)), &state); err != nil {
		p.t.Fatal(err)
	}
	return string(state.Status)
}

// TestCommands takes a pod without a trace session through its life, with what
// containerd's shim calls.
func TestCommands(t *testing.T) {
	p := newPod(t, "")
	p.create("sandbox", "", []string{"/usr/bin/sleep", "600"}, nil, nil)
	if s := p.status("sandbox"); s != "created" {
		t.Errorf("created, and its state is %q", s)
	}
	p.start("sandbox")
	p.create("main", "sandbox", []string{"/bin/sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"}, nil, nil)
	output := p.start("main")
	main := p.wait("main")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(output); string(b) == "up\n" {
			break
		} else if time.Now().After(until) {
			t.Fatalf("the container said %q", b)
		}
	}
	if out := p.do("exec", "main", "/bin/echo", "within"); out != "within\n" {
		t.Errorf("exec says %q", out)
	}
	var pids []int
	if err := json.Unmarshal([]byte(p.do("ps", "--format", "json", "main")), &pids); err != nil || len(pids) < 1 {
		t.Errorf("ps: %v, %v", pids, err)
	}
	if out := p.do("events", "--stats", "main"); !strings.Contains(out, `"type":"stats"`) {
		t.Errorf("events says %q", out)
	}
	p.do("pause", "sandbox")
	if s := p.status("sandbox"); s != "paused" {
		t.Errorf("paused, and its state is %q", s)
	}
	p.do("resume", "sandbox")
	p.do("kill", "main", "15")
	if code := p.ended(main); code != 7 {
		t.Errorf("the container ended with %d", code)
	}
	if s := p.status("main"); s != "stopped" {
		t.Errorf("ended, and its state is %q", s)
	}
	p.do("delete", "main")
	p.end("sandbox")
	if left, err := p.try("state", "sandbox"); err == nil {
		t.Errorf("after its deletion: %s", left)
	}
}

// TestBadSession starts no sandbox whose trace session can't be read.
func TestBadSession(t *testing.T) {
	for name, text := range map[string]string{
		"no file":      "",
		"no JSON":      "{",
		"no endpoint":  `{"trace_session":{"name":"Default","sinks":[{"name":"remote"}]}}`,
		"nobody there": `{"trace_session":{"name":"Default","sinks":[{"name":"remote","config":{"endpoint":"/nonexistent/s"}}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, filepath.Join(t.TempDir(), "trace.json"))
			if text != "" {
				if err := os.WriteFile(p.session, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			bundle := filepath.Join(p.dir, "b")
			spec := specs.Spec{Version: "1.1.0", Root: &specs.Root{Path: "rootfs"}, Process: &specs.Process{Args: []string{"/usr/bin/true"}, Cwd: "/"}, Linux: &specs.Linux{}}
			raw, err := json.Marshal(spec)
			if err := errors.Join(err, os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755), os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.try("create", "--bundle", bundle, "c"); err == nil || !strings.Contains(err.Error(), "trace session") && !strings.Contains(err.Error(), "sensor at") {
				t.Errorf("%v", err)
			}
		})
	}
}
