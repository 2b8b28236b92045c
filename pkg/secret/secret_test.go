package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/falconer-sec/falconer/pkg/secret"
)

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	tests := map[string]struct {
		env  map[string]string
		want []string
		err  string
	}{
		"unset":        {},
		"one":          {env: map[string]string{"T": "secret-1"}, want: []string{"secret-1"}},
		"several":      {env: map[string]string{"T": " secret-1\nsecret-2 "}, want: []string{"secret-1", "secret-2"}},
		"file":         {env: map[string]string{"T_FILE": file("good", "secret-1\n")}, want: []string{"secret-1"}},
		"both":         {env: map[string]string{"T": "secret-1", "T_FILE": file("both", "secret-2")}, err: "T and T_FILE are both set"},
		"short":        {env: map[string]string{"T": "secret-1 hunter2"}, err: "T holds a token of 7 bytes"},
		"empty file":   {env: map[string]string{"T_FILE": file("empty", " \n")}, err: "is empty"},
		"missing file": {env: map[string]string{"T_FILE": filepath.Join(dir, "none")}, err: "T_FILE: open"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := func(k string) string { return tt.env[k] }
			got, err := secret.Tokens(env, "T")
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			first, ferr := secret.Token(env, "T")
			if (err == nil) != (ferr == nil) || first != strings.Join(tt.want[:min(1, len(tt.want))], "") {
				t.Errorf("Token: %q, %v", first, ferr)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}
