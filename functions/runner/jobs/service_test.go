package jobs

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/fault"
)

func TestSettings(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 48)), 0o600); err != nil {
		t.Fatal(err)
	}
	base := map[string]string{"FALCONER_SANDBOX_SENSOR": "gvisor", "FALCONER_REGISTRY_URL": "http://192.0.2.7:4873/", "FALCONER_SCAN_KEY_FILE": key,
		"FALCONER_SANDBOX_HOST_USERS": "false", "FALCONER_SANDBOX_APPARMOR": "RuntimeDefault", "FALCONER_SANDBOX_MEMORY": "6Gi"}
	d, err := settings(func(n string) string { return base[n] })
	if err != nil {
		t.Fatal(err)
	}
	if !d.Config.NoHostUsers || !d.Config.AppArmor || d.Config.Limits.Memory.String() != "6Gi" || d.Limit != Concurrency || d.Config.Namespace != "falconer-sandbox" {
		t.Errorf("%+v", d.Config)
	}
	if address, err := d.Registry(t.Context()); address != "http://192.0.2.7:4873" || err != nil {
		t.Errorf("registry %q, %v", address, err)
	}
	for name, values := range map[string][]string{
		"FALCONER_SANDBOX_SENSOR": {"", "strace"}, "FALCONER_SANDBOX_HOST_USERS": {"true", "no"}, "FALCONER_SANDBOX_APPARMOR": {"unconfined"},
		"FALCONER_SANDBOX_MEMORY": {"-1", "much"}, "FALCONER_SANDBOX_CPU": {"0"}, "FALCONER_RUNNER_CONCURRENCY": {"0", "two", "1001"},
		"FALCONER_REGISTRY_URL":  {"", "https://x", "http://x/npm", "http://u:p@x", "x:1"},
		"FALCONER_SCAN_KEY_FILE": {"", "/does/not/exist"},
	} {
		for _, v := range values {
			env := maps.Clone(base)
			env[name] = v
			if _, err := settings(func(n string) string { return env[n] }); err == nil || fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q: %v, want a permanent error that names it", name, v, err)
			}
		}
	}
}

func TestRegistryByName(t *testing.T) {
	for address, want := range map[string]string{"http://192.0.2.7": "http://192.0.2.7:80", "http://[2001:db8::1]:4873": "http://[2001:db8::1]:4873"} {
		ask, err := registry(address)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t.Context()); got != want || err != nil {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
	ask, err := registry("http://localhost:4873")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t.Context()); err != nil || (got != "http://127.0.0.1:4873" && got != "http://[::1]:4873") {
		t.Errorf("%q, %v", got, err)
	}
}
