package falcogate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func TestTokensFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("c\n\n d \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"FALCONER_GATE_TOKENS": "a, b,", "FALCONER_GATE_TOKENS_FILE": path}
	got, err := readTokens(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, got); diff != "" {
		t.Error(diff)
	}
	env["FALCONER_GATE_TOKENS_FILE"] = path + ".none"
	if _, err := readTokens(func(k string) string { return env[k] }); fault.KindOf(err) != fault.Permanent {
		t.Errorf("a missing file leaves the gate open: %v", err)
	}
}

func TestServiceNeedsNATS(t *testing.T) {
	if _, err := Service(serve.Deps{Context: t.Context(), Env: func(string) string { return "" }}); fault.KindOf(err) != fault.Permanent || err == nil {
		t.Errorf("got %v, want a permanent error", err)
	}
}
