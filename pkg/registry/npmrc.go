package registry

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// The variables that FromFile reads beside npm's own.
const (
	EnvRegistry = "FALCONER_NPM_REGISTRY" // base URL of the default registry
	EnvNPMRC    = "FALCONER_NPMRC"        // path of a .npmrc
)

// FromFile is Configured for where there is no npm: it reads the .npmrc that
// EnvNPMRC names, then npm_config_ variables, then EnvRegistry, each outranking
// the one before. No registry is assumed: if none of them names one, the error
// is fault.Permanent and says what to set. env is "NAME=value" each.
func FromFile(env []string) (Config, error) {
	c := Config{Scopes: map[string]string{}, Auth: Auth{}}
	s := settings{}
	if name := variableOf(env, EnvNPMRC); name != "" {
		b, err := readLimited(name)
		if err != nil {
			return Config{}, fault.New("registry: "+EnvNPMRC, fault.Permanent, err)
		}
		s.addFile(b, env)
		c.Auth.addFile(b, env)
	}
	s.addEnv(env)
	c.Auth.addEnv(env)
	if r := variableOf(env, EnvRegistry); r != "" {
		s["registry"] = []string{r}
	}
	if s.last("registry") == "" {
		return Config{}, fault.Errorf(fault.Permanent,
			"registry: no npm registry is configured: set %s, or %s to a .npmrc that has a line registry=...", EnvRegistry, EnvNPMRC)
	}
	c.Registry = s.last("registry")
	for key := range s {
		if scope, ok := strings.CutSuffix(key, ":registry"); ok && strings.HasPrefix(scope, "@") {
			c.Scopes[scope] = s.last(key)
		}
	}
	if c.Proxy = s.last("https-proxy"); c.Proxy == "" {
		c.Proxy = s.last("proxy")
	}
	c.NoProxy = strings.Join(s["noproxy"], ",")
	c.Insecure = s.last("strict-ssl") == "false"
	inline, err := json.Marshal(s["ca"])
	if err != nil {
		return Config{}, fault.New("registry: ca", fault.Permanent, err)
	}
	if file := s.last("cafile"); file != "" {
		if _, err := os.Stat(file); err != nil { // trust is not something to go without in silence
			return Config{}, fault.New("registry: cafile", fault.Permanent, err)
		}
	}
	c.CA = certificates(inline, s.last("cafile"))
	return c, c.check()
}

// settings are a .npmrc's keys with their values in order.
type settings map[string][]string

// last returns the value that counts of a key that has one; "null" is none.
func (s settings) last(key string) string {
	if all := s[key]; len(all) > 0 && all[len(all)-1] != "null" {
		return all[len(all)-1]
	}
	return ""
}

// addFile reads a .npmrc by npm's rules: "key = value" lines, "key[] = value"
// for lists, comments after ";" and "#", quotes, ${NAME}. Later lines win.
func (s settings) addFile(npmrc []byte, env []string) {
	for line := range strings.Lines(string(npmrc)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.ContainsRune(";#[", rune(line[0])) {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			value = "true"
		}
		key, list := strings.CutSuffix(expand(plain(key), env), "[]")
		value = expand(plain(value), env)
		if list {
			s[key] = append(s[key], value)
		} else {
			s[key] = []string{value}
		}
	}
}

// addEnv reads npm_config_ variables; npm knows "-" of a key as "_" there, but
// not in the names of scopes and addresses.
func (s settings) addEnv(env []string) {
	const prefix = "npm_config_"
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) || value == "" {
			continue
		}
		key := name[len(prefix):]
		if !strings.HasPrefix(key, "@") {
			key = strings.ReplaceAll(strings.ToLower(key), "_", "-")
		}
		s[key] = []string{value}
	}
}

// plain takes the quotes or the comment off one side of a line.
func plain(s string) string {
	s = strings.TrimSpace(s)
	if q := unquote(s); q != s {
		var text string
		if s[0] == '"' && json.Unmarshal([]byte(s), &text) == nil {
			return text
		}
		return q
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ';' || s[i] == '#' {
			break
		}
		if s[i] == '\\' && i+1 < len(s) && strings.ContainsRune(`;#\`, rune(s[i+1])) {
			i++
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(b.String())
}

// variableOf returns a variable's value, "" if unset; the last one counts.
func variableOf(env []string, name string) (value string) {
	for _, v := range env {
		if n, text, _ := strings.Cut(v, "="); n == name {
			value = text
		}
	}
	return value
}
