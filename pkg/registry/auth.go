package registry

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
)

// Auth maps an address without its scheme ("//registry.example.com/npm/") to
// the credentials configured for everything below it.
type Auth map[string]credential

// credential is what a .npmrc says about one address.
type credential struct {
	token    string // _authToken
	basic    string // _auth: base64 of user:password
	username string
	password string // _password, still base64
}

// String hides the credentials from logs.
func (credential) String() string { return "(hidden)" }

// GoString hides the credentials from %#v.
func (credential) GoString() string { return "(hidden)" }

// String hides the credentials from logs.
func (a Auth) String() string { return "(hidden)" }

// header returns the Authorization header's value for a request to u, "" for
// none. The longest configured path that contains u's counts, as in npm.
func (a Auth) header(u *url.URL) string {
	for dir := u.EscapedPath(); ; {
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return ""
		}
		dir = dir[:i]
		for _, key := range [...]string{"//" + u.Host + dir + "/", "//" + u.Host + dir} {
			if h := a[key].header(); h != "" {
				return h
			}
		}
	}
}

func (c credential) header() string {
	switch {
	case c.token != "":
		return "Bearer " + c.token
	case c.username != "" && c.password != "":
		pass, err := base64.StdEncoding.DecodeString(c.password)
		if err != nil {
			return ""
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.username+":"+string(pass)))
	case c.basic != "":
		return "Basic " + c.basic
	}
	return ""
}

// addFile reads the credentials of a .npmrc, expanding ${NAME} from env.
func (a Auth) addFile(npmrc []byte, env []string) {
	for line := range strings.Lines(string(npmrc)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "//") {
			if key, value, ok := strings.Cut(line, "="); ok {
				a.add(expand(strings.TrimSpace(key), env), expand(unquote(strings.TrimSpace(value)), env))
			}
		}
	}
}

// addEnv reads credentials given as npm_config_//host/:_authToken variables.
func (a Auth) addEnv(env []string) {
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		const prefix = "npm_config_"
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) && strings.HasPrefix(name[len(prefix):], "//") {
			a.add(name[len(prefix):], value)
		}
	}
}

func (a Auth) add(key, value string) {
	i := strings.LastIndexByte(key, ':')
	if i < 0 || strings.ContainsAny(value, "\r\n") {
		return
	}
	at, field := key[:i], key[i+1:]
	c := a[at]
	switch field {
	case "_authToken":
		c.token = value
	case "_auth":
		c.basic = value
	case "username":
		c.username = value
	case "_password":
		c.password = value
	default:
		return
	}
	a[at] = c
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

var variable = regexp.MustCompile(`\$\{([^}]+?)(\??)\}`)

// expand replaces ${NAME}, and ${NAME?} for one that may be unset, as npm
// does; an unset ${NAME} stays as it is.
func expand(s string, env []string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		parts := variable.FindStringSubmatch(m)
		for i := len(env) - 1; i >= 0; i-- {
			if name, value, _ := strings.Cut(env[i], "="); name == parts[1] {
				return value
			}
		}
		if parts[2] == "?" {
			return ""
		}
		return m
	})
}

// ParseAuth reads the credentials of a .npmrc; ${NAME} is expanded from env.
func ParseAuth(npmrc []byte, env []string) Auth {
	a := Auth{}
	a.addFile(npmrc, env)
	return a
}
