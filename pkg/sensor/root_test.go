package sensor

import "testing"

func TestUnrooted(t *testing.T) {
	for p, want := range map[string]string{
		"/proc/self/root/proc/7/root/root/.npmrc": "/root/.npmrc", "/proc/7/task/8/root/etc/shadow": "/etc/shadow",
		"/proc/self/environ": "/proc/self/environ", "/proc/7/cwd/root/x": "/proc/7/cwd/root/x", "/proc/self/root": "/proc/self/root", "/x": "/x", "": "",
	} {
		if got := unrooted(p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}
