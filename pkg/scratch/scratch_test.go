package scratch

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Started with a parent directory, the test's binary makes a directory, says
// its name and waits to be killed.
func TestMain(m *testing.M) {
	parent := os.Getenv("SCRATCH_TEST_PARENT")
	if parent == "" {
		os.Exit(m.Run())
	}
	d, err := Make(parent, "work-")
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(d.Path + "\n") // the test sees if it is missing
	time.Sleep(time.Hour)                       // blocked for ever it would be taken for a deadlock, and end
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestSweep(t *testing.T) {
	parent := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SCRATCH_TEST_PARENT="+parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	theirs := strings.TrimSpace(line)
	if err := os.WriteFile(filepath.Join(theirs, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := Make(parent, "work-")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"other", "target"} {
		if err := os.Mkdir(filepath.Join(parent, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("target", filepath.Join(parent, "work-link")); err != nil {
		t.Fatal(err)
	}
	before := names(t, parent)
	if err := Sweep(parent, "work-"); err != nil {
		t.Error(err)
	}
	if after := names(t, parent); after != before {
		t.Errorf("swept while in use: %s, before %s", after, before)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if err := Sweep(parent, "work-"); err != nil {
		t.Error(err)
	}
	if got, want := names(t, parent), "other target "+filepath.Base(mine.Path)+" work-link"; got != want {
		t.Errorf("after its owner's death: %s, want %s", got, want)
	}
	if err := mine.Remove(); err != nil {
		t.Error(err)
	}
	if got := names(t, parent); got != "other target work-link" {
		t.Errorf("after Remove: %s", got)
	}
}

func TestErrors(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	if _, err := Make(nowhere, "work-"); !os.IsNotExist(err) {
		t.Error(err)
	}
	if err := Sweep(nowhere, "work-"); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestRemoveOutlastsAWriter: files that appear while a directory is emptied are
// removed too. One try alone loses against this writer sooner or later.
func TestRemoveOutlastsAWriter(t *testing.T) {
	parent := t.TempDir()
	for range 8 {
		d, err := Make(parent, "work-")
		if err != nil {
			t.Fatal(err)
		}
		inner := filepath.Join(d.Path, "obs", "consumer")
		if err := os.MkdirAll(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		started, stop, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				// It fails once the folder is gone, which is what ends it in the end.
				if err := os.WriteFile(filepath.Join(inner, strconv.Itoa(n)), nil, 0o600); err != nil {
					return
				}
				if n == 100 {
					close(started)
				}
			}
		}()
		<-started
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
		close(stop)
		<-ended
	}
	if left := names(t, parent); left != "" {
		t.Errorf("left: %s", left)
	}
}
