package guest_test

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
)

func TestEnvironment(t *testing.T) {
	for user, home := range map[guest.User]string{guest.Root: guest.RootHome, guest.Builder: guest.BuilderHome} {
		env := user.Env("an-id")
		for _, want := range []string{"HOME=" + home, "USER=" + string(user), "CI=true", "FALCONER_SCAN_ID=an-id", "CI_PROJECT_DIR=/builds/project"} {
			if !slices.Contains(env, want) {
				t.Errorf("%s: no %s in %q", user, want, env)
			}
		}
	}
}

func TestDirectoryOfARoot(t *testing.T) {
	for root, want := range map[string]string{".": "/builds/project", "web": "/builds/project/web", "a/b": "/builds/project/a/b"} {
		if got := guest.Dir(root); got != want {
			t.Errorf("%s: %s, want %s", root, got, want)
		}
	}
}

// The first process hands on its child's exit code, and its arguments unread.
func TestInit(t *testing.T) {
	argv := guest.UnderInit([]string{"sh", "-c", `echo "$1"; exit 7`, "sh", `a "b" $c`})
	argv[4] = "1" // there are other processes here, for which it would wait
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	out, _ := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 7 || string(out) != "a \"b\" $c\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
}
