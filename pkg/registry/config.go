package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Config names the registries and how to reach them.
type Config struct {
	Registry string            // base URL of the default registry
	Scopes   map[string]string // "@acme" → base URL
	Auth     Auth              // credentials; never logged
	CA       []byte            // PEM certificates trusted beside the system's
	Proxy    string            // HTTP proxy for registries; "" is what HTTP_PROXY and the like say
	NoProxy  string            // comma-separated hosts reached without Proxy
	Insecure bool              // don't verify certificates (npm's strict-ssl=false)
}

// Host is the machine whose npm settings are asked for.
type Host struct {
	NPM string   // npm's program; "" finds "npm" through PATH
	Env []string // environment to run it with; nil is none
}

const (
	askTimeout = 30 * time.Second
	maxAnswer  = 4 << 20 // bytes of npm's answer, and of a .npmrc
)

// Configured asks the host's npm client which registries its user has set up:
// the user's and the global .npmrc and npm_config_ variables count, a
// project's .npmrc doesn't, since npm is run in an empty folder. Credentials
// are read from the same places. Without npm the error is fault.Permanent and
// says so.
func Configured(ctx context.Context, host Host) (Config, error) {
	if host.NPM == "" {
		host.NPM = "npm"
	}
	neutral, err := os.MkdirTemp("", "falconer-npm-")
	if err != nil {
		return Config{}, err
	}
	defer os.RemoveAll(neutral)
	out, err := ask(ctx, host, neutral)
	if err != nil {
		return Config{}, err
	}
	return parseSettings(out, host.Env)
}

func ask(ctx context.Context, host Host, dir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, host.NPM, "config", "list", "--json", "--long", "--loglevel=silent")
	cmd.Dir, cmd.Env = dir, append([]string{}, host.Env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limitedWriter{&stdout, maxAnswer}, &limitedWriter{&stderr, 4096}
	if err := cmd.Run(); err != nil {
		return nil, fault.Errorf(fault.Permanent,
			"registry: can't ask npm which registry to use (is npm installed and on the PATH?): %w: %.300s", err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// parseSettings reads `npm config list --json`, and the credentials from the
// files it names.
func parseSettings(out []byte, env []string) (Config, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil {
		return Config{}, fault.Errorf(fault.Permanent, "registry: npm's answer is not JSON: %w", err)
	}
	str := func(key string) (s string) {
		_ = json.Unmarshal(all[key], &s) // null and other types are ""
		return s
	}
	c := Config{Registry: str("registry"), Scopes: map[string]string{}, Auth: Auth{}}
	for key := range all {
		if scope, ok := strings.CutSuffix(key, ":registry"); ok && strings.HasPrefix(scope, "@") {
			c.Scopes[scope] = str(key)
		}
	}
	c.Proxy = str("https-proxy")
	if c.Proxy == "" {
		c.Proxy = str("proxy")
	}
	var noProxy []string
	if json.Unmarshal(all["noproxy"], &noProxy) != nil {
		noProxy = []string{str("noproxy")}
	}
	c.NoProxy = strings.Join(noProxy, ",")
	c.Insecure = string(all["strict-ssl"]) == "false"
	c.CA = certificates(all["ca"], str("cafile"))
	for _, file := range []string{str("globalconfig"), str("userconfig")} { // the user's wins
		if b, err := readLimited(file); err == nil {
			c.Auth.addFile(b, env)
		}
	}
	c.Auth.addEnv(env)
	return c, c.check()
}

func certificates(inline json.RawMessage, file string) []byte {
	var many []string
	var one string
	if json.Unmarshal(inline, &one) == nil && one != "" {
		many = []string{one}
	} else {
		_ = json.Unmarshal(inline, &many) // null leaves it empty
	}
	pem := []byte(strings.ReplaceAll(strings.Join(many, "\n"), `\n`, "\n"))
	if b, err := readLimited(file); err == nil {
		pem = append(append(pem, '\n'), b...)
	}
	return bytes.TrimSpace(pem)
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxAnswer))
}

// check normalises the addresses; an unusable one is fault.Invalid.
func (c *Config) check() error {
	var err error
	if c.Registry, err = baseURL(c.Registry); err != nil {
		return err
	}
	for scope, base := range c.Scopes {
		if c.Scopes[scope], err = baseURL(base); err != nil {
			return fmt.Errorf("%.100s: %w", scope, err)
		}
	}
	return nil
}

// baseURL returns a registry's address with a trailing slash.
func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.Errorf(fault.Invalid, "registry: %.200q is not a registry's address", s)
	}
	if u.User != nil {
		return "", fault.Errorf(fault.Invalid, "registry: credentials belong in .npmrc, not in the address of %s", u.Host)
	}
	return strings.TrimSuffix(u.String(), "/") + "/", nil
}

// base is the registry that serves name.
func (c Config) base(name string) string {
	if base, ok := c.Scopes[scopeOf(name)]; ok {
		return base
	}
	return c.Registry
}

// limitedWriter keeps the first n bytes and drops the rest.
type limitedWriter struct {
	w io.Writer
	n int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	keep := min(len(p), l.n)
	l.n -= keep
	if _, err := l.w.Write(p[:keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}
