package ticket

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Bounds of a key, in bytes.
const (
	MinKey = 32
	maxKey = 4096
)

// Env is the variable that names the file with the key, as a cluster mounts it.
const Env = "FALCONER_SCAN_KEY_FILE"

// ReadKey reads the key of the file that Env names: its content without white
// space around it, at least MinKey bytes, e.g. what `openssl rand -base64 48`
// prints.
func ReadKey(getenv func(string) string) (Key, error) {
	name := getenv(Env)
	if name == "" {
		return nil, fmt.Errorf("%s is not set: it names the file with the key that scans' tickets are made with", Env)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Env, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Env, err)
	}
	key := Key(strings.TrimSpace(string(b)))
	if len(key) < MinKey || len(b) > maxKey {
		return nil, fmt.Errorf("%s: %s holds a key of %d bytes: use %d to %d", Env, name, len(key), MinKey, maxKey)
	}
	return key, nil
}
