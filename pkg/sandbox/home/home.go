// Package home makes up a developer's home directory for a sandbox: what a
// thief looks for is there, and every credential is random and opens nothing.
package home

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// Write fills dir with files that are made up anew at each call, readable by
// their owner only. It makes dir where it does not exist.
func Write(dir string) error {
	files := map[string]string{
		".bashrc":                 "# ~/.bashrc\nexport EDITOR=vi\nalias ll='ls -l'\n",
		".profile":                "# ~/.profile\n[ -n \"$BASH_VERSION\" ] && . \"$HOME/.bashrc\"\n",
		".gitconfig":              "[user]\n\tname = Build\n\temail = build@example.com\n",
		".ssh/id_rsa":             pem("OPENSSH PRIVATE KEY", 1200),
		".ssh/id_ed25519":         pem("OPENSSH PRIVATE KEY", 260),
		".ssh/known_hosts":        "gitlab.example.com ssh-ed25519 " + b64(51) + "\n",
		".aws/credentials":        "[default]\naws_access_key_id = AKIA" + strings.ToUpper(hexed(8)) + "\naws_secret_access_key = " + b64(30) + "\n",
		".aws/config":             "[default]\nregion = eu-central-1\n",
		".netrc":                  "machine gitlab.example.com login build password " + hexed(12) + "\n",
		".git-credentials":        "https://build:glpat-" + hexed(10) + "@gitlab.example.com\n",
		".docker/config.json":     `{"auths":{"registry.example.com":{"auth":"` + b64(24) + `"}}}` + "\n",
		".kube/config":            "apiVersion: v1\nkind: Config\nclusters:\n- name: prod\n  cluster: {server: https://10.3.0.1:6443}\nusers:\n- name: deploy\n  user: {token: " + hexed(32) + "}\n",
		".config/gh/hosts.yml":    "github.example.com:\n  user: build\n  oauth_token: gho_" + hexed(18) + "\n",
		".gnupg/private-keys.gpg": b64(600) + "\n",
	}
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

func hexed(n int) string { return hex.EncodeToString(random(n)) }
func b64(n int) string   { return base64.StdEncoding.EncodeToString(random(n)) }

func pem(kind string, n int) string {
	var out strings.Builder
	out.WriteString("-----BEGIN " + kind + "-----\n")
	for s := b64(n); s != ""; {
		cut := min(70, len(s))
		out.WriteString(s[:cut] + "\n")
		s = s[cut:]
	}
	out.WriteString("-----END " + kind + "-----\n")
	return out.String()
}
