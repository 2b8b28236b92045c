package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/registry"
)

const npmrc = `; a comment
# another
registry = "https://registry.example.com/npm"
@acme:registry=https://acme.example.com
@env:registry=https://file.example.com
//registry.example.com/npm/:_authToken=${SECRET}
strict-ssl=false ; their certificate is private
noproxy[]=a.example.com
noproxy[]=b.example.com
https-proxy=http://proxy.example.com:3128
ca[]="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
always-auth
[section]
`

func TestFromFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".npmrc")
	write(t, file, npmrc)
	c, err := registry.FromFile([]string{registry.EnvNPMRC + "=" + file, "SECRET=s3cret", "npm_config_@env:registry=https://env.example.com", "npm_config_empty="})
	if err != nil {
		t.Fatal(err)
	}
	want := registry.Config{
		Registry: "https://registry.example.com/npm/", Scopes: map[string]string{"@acme": "https://acme.example.com/", "@env": "https://env.example.com/"},
		Proxy: "http://proxy.example.com:3128", NoProxy: "a.example.com,b.example.com", Insecure: true,
		CA: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
	}
	if got := registry.AuthHeader(c.Auth, "https://registry.example.com/npm/left-pad"); got != "Bearer s3cret" {
		t.Errorf("Authorization %q", got)
	}
	c.Auth = nil
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What npm itself makes of the file is the standard.
func TestFromFileReadsWhatNPMDoes(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".npmrc"), npmrc)
	env := []string{"SECRET=s3cret", "npm_config_@env:registry=https://env.example.com"}
	want, err := registry.Configured(t.Context(), registry.Host{NPM: npmProgram(t), Env: append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}, env...)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := registry.FromFile(append(env, registry.EnvNPMRC+"="+filepath.Join(home, ".npmrc")))
	if err != nil {
		t.Fatal(err)
	}
	const address = "https://registry.example.com/npm/left-pad"
	if a, b := registry.AuthHeader(want.Auth, address), registry.AuthHeader(got.Auth, address); a != b {
		t.Errorf("Authorization %q, npm's %q", b, a)
	}
	want.Auth, got.Auth = nil, nil
	want.CA, got.CA = nil, nil // this machine's npm may have a cafile of its own
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-npm +ours):\n%s", d)
	}
}

func TestFromFilePrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "npmrc")
	write(t, file, "registry=https://a.example.com\nregistry=https://b.example.com\n")
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"the file's last":         {[]string{registry.EnvNPMRC + "=" + file}, "https://b.example.com/"},
		"npm's variable":          {[]string{registry.EnvNPMRC + "=" + file, "NPM_CONFIG_REGISTRY=https://c.example.com"}, "https://c.example.com/"},
		"our variable":            {[]string{registry.EnvNPMRC + "=" + file, "npm_config_registry=https://c.example.com", registry.EnvRegistry + "=https://d.example.com"}, "https://d.example.com/"},
		"without a file":          {[]string{registry.EnvRegistry + "=https://d.example.com"}, "https://d.example.com/"},
		"an empty variable is no": {[]string{registry.EnvNPMRC + "=" + file, registry.EnvRegistry + "="}, "https://b.example.com/"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := registry.FromFile(c.env)
			if err != nil || got.Registry != c.want {
				t.Errorf("%s, %v", got.Registry, err)
			}
		})
	}
}

func TestFromFileRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		write(t, filepath.Join(dir, name), content)
		return registry.EnvNPMRC + "=" + filepath.Join(dir, name)
	}
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"nothing":          {nil, registry.EnvRegistry},
		"a file without":   {[]string{file("empty", "# none\nregistry=null\n")}, registry.EnvRegistry},
		"no file":          {[]string{registry.EnvNPMRC + "=" + filepath.Join(dir, "absent")}, registry.EnvNPMRC},
		"not an address":   {[]string{registry.EnvRegistry + "=registry.example.com"}, "not a registry's address"},
		"credentials":      {[]string{registry.EnvRegistry + "=https://u:p@registry.example.com"}, "credentials belong in .npmrc"},
		"cafile is absent": {[]string{file("ca", "registry=https://a.example.com\ncafile=/nowhere/ca.pem\n")}, "cafile"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := registry.FromFile(c.env)
			if err == nil || fault.Retryable(err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
