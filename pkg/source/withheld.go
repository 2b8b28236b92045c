package source

import (
	"bytes"
	"path"
	"regexp"
	"strings"
)

// Reasons for leaving a path out of an archive.
const (
	reasonGit     = "version history"
	reasonModules = "installed packages; the lockfile is installed afresh"
	reasonEnv     = "environment file, may hold secrets"
	reasonKey     = "private key or key store"
	reasonCreds   = "credentials"
)

// names maps file names to why they are withheld.
var names = map[string]string{
	".git":                                 reasonGit,
	"node_modules":                         reasonModules,
	".netrc":                               reasonCreds,
	"_netrc":                               reasonCreds,
	".git-credentials":                     reasonCreds,
	".pypirc":                              reasonCreds,
	".htpasswd":                            reasonCreds,
	".vault-token":                         reasonCreds,
	"application_default_credentials.json": reasonCreds,
}

// suffixes maps endings of file names to why they are withheld.
var suffixes = map[string]string{
	".pem": reasonKey, ".p12": reasonKey, ".pfx": reasonKey, ".jks": reasonKey,
	".keystore": reasonKey, ".ppk": reasonKey, ".kdbx": reasonKey,
}

// tails maps the last two elements of a path to why it is withheld.
var tails = map[string]string{
	".aws/credentials": reasonCreds, ".docker/config.json": reasonCreds, ".kube/config": reasonCreds,
}

// sshKey matches the names OpenSSH gives private keys; public halves (.pub)
// are no secret.
var sshKey = regexp.MustCompile(`^id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk)$`)

// Withheld reports whether Pack leaves p (slash-separated, relative to the
// source), or a directory above it, out of an archive because of its name, and
// why. Files withheld because of their content are not known by name.
func Withheld(p string) (reason string, ok bool) {
	parts := strings.Split(path.Clean(p), "/")
	for i, name := range parts {
		tail := name
		if i > 0 {
			tail = parts[i-1] + "/" + name
		}
		if reason, ok = withheldName(strings.ToLower(name), strings.ToLower(tail)); ok {
			return reason, true
		}
	}
	return "", false
}

func withheldName(name, tail string) (string, bool) {
	if r, ok := names[name]; ok {
		return r, true
	}
	if r, ok := tails[tail]; ok {
		return r, true
	}
	if r, ok := suffixes[path.Ext(name)]; ok {
		return r, true
	}
	switch {
	case strings.HasPrefix(name, ".env"):
		return reasonEnv, true
	case sshKey.MatchString(name):
		return reasonKey, true
	}
	return "", false
}

// keyHeader matches the first line of a private key in any PEM dialect.
var keyHeader = regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`)

// headSize is how much of a file is searched for a private key.
const headSize = 4096

// holdsKey reports whether a file's first bytes hold a private key.
func holdsKey(head []byte) bool { return keyHeader.Match(head) }

// isClientConfig reports whether p is a package manager's configuration, whose
// lines with credentials are removed while the rest is kept.
func isClientConfig(p string) bool {
	switch path.Base(p) {
	case ".npmrc", ".yarnrc", ".yarnrc.yml":
		return true
	}
	return false
}

// maxClientConfig is the largest configuration file that is searched for
// credentials, in bytes.
const maxClientConfig = 1 << 20

var (
	// secretKey matches a setting whose value is a credential: npm's
	// "//host/:_authToken=", "_password", "keyfile"; yarn's "npmAuthToken:".
	secretKey = regexp.MustCompile(`(?i)(^|[^a-z0-9])(_auth|_authtoken|_password|username|npmauthtoken|npmauthident|key|keyfile|cert|certfile)"?\s*(\[\])?\s*(=|:\s|\s|$)`)
	// userinfo matches the credentials inside an address.
	userinfo = regexp.MustCompile(`://[^/\s"'@]*@`)
)

// cleanConfig removes the lines of a package manager's configuration that hold
// credentials, and credentials inside addresses. It says how many lines it
// removed or changed.
func cleanConfig(b []byte) (clean []byte, changed int) {
	for line := range bytes.Lines(b) {
		if secretKey.Match(line) {
			changed++
			continue
		}
		if cut := userinfo.ReplaceAllLiteral(line, []byte("://")); !bytes.Equal(cut, line) {
			changed++
			line = cut
		}
		clean = append(clean, line...)
	}
	return clean, changed
}
