package registry_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry"
)

// Real npm is asked, with the user's settings and not a project's.
func TestConfiguredRealNPM(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".npmrc"), `registry=https://registry.example.com/npm
@acme:registry=https://acme.example.com
//registry.example.com/npm/:_authToken=${SECRET}
//acme.example.com/:_auth=dXNlcjpwYXNz
strict-ssl=false
`)
	project := t.TempDir()
	write(t, filepath.Join(project, "package.json"), `{}`)
	write(t, filepath.Join(project, ".npmrc"), "registry=https://evil.example.com/\n@acme:registry=https://evil.example.com/\n")
	t.Chdir(project)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SECRET=s3cret", "npm_config_@env:registry=https://env.example.com/"}
	c, err := registry.Configured(t.Context(), registry.Host{NPM: npmProgram(t), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if c.Registry != "https://registry.example.com/npm/" || !c.Insecure {
		t.Errorf("registry %s, insecure %v", c.Registry, c.Insecure)
	}
	want := map[string]string{"@acme": "https://acme.example.com/", "@env": "https://env.example.com/"}
	if diff := cmp.Diff(want, c.Scopes); diff != "" {
		t.Error(diff)
	}
	for address, want := range map[string]string{
		"https://registry.example.com/npm/left-pad":  "Bearer s3cret",
		"https://registry.example.com/other":         "",
		"https://acme.example.com/@acme%2fa":         "Basic dXNlcjpwYXNz",
		"https://acme.example.com:8443/@acme%2fa":    "",
		"https://registry.example.com.evil.com/npm/": "",
	} {
		if got := registry.AuthHeader(c.Auth, address); got != want {
			t.Errorf("%s: Authorization %q, want %q", address, got, want)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", c.Auth, c, c.Auth); strings.Contains(s, "s3cret") || strings.Contains(s, "dXNlcjpwYXNz") {
		t.Errorf("credentials are printed: %s", s)
	}
}

func TestConfiguredWithoutNPM(t *testing.T) {
	_, err := registry.Configured(t.Context(), registry.Host{NPM: filepath.Join(t.TempDir(), "npm")})
	if fault.KindOf(err) != fault.Permanent || err == nil || !strings.Contains(err.Error(), "npm") {
		t.Errorf("%v, want a permanent fault that names npm", err)
	}
}

func TestConfiguredBadAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"not json": "hello", "no registry": "{}", "a file": `{"registry":"file:///etc"}`,
		"credentials": `{"registry":"https://u:p@r.example.com/"}`, "a query": `{"registry":"https://r.example.com/?x"}`,
		"bad scope": `{"registry":"https://r.example.com/","@a:registry":"nope"}`,
	} {
		t.Run(name, func(t *testing.T) {
			fake := filepath.Join(t.TempDir(), "npm")
			if err := os.WriteFile(fake, []byte("#!/bin/sh\ncat <<'E'\n"+answer+"\nE\n"), 0o700); err != nil { //nolint:gosec // a program
				t.Fatal(err)
			}
			_, err := registry.Configured(t.Context(), registry.Host{NPM: fake, Env: []string{"PATH=" + os.Getenv("PATH")}})
			if err == nil {
				t.Error("accepted")
			}
			if err != nil && strings.Contains(err.Error(), "u:p") {
				t.Errorf("the error shows credentials: %v", err)
			}
		})
	}
}
