package corpus_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/test/corpus"
)

func TestBenign(t *testing.T) {
	projects, err := corpus.Benign()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, b := range projects {
		var m struct {
			OptionalDependencies map[string]string `json:"optionalDependencies"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for name, version := range m.OptionalDependencies {
			if n++; name == "" || strings.Count(version, ".") != 2 {
				t.Errorf("%s@%s is not pinned", name, version)
			}
		}
	}
	if n < 40 {
		t.Errorf("%d packages", n)
	}
}

func TestWithoutAddresses(t *testing.T) {
	b, err := corpus.WithoutAddresses([]byte(`{"packages":{"":{},"node_modules/a":{"version":"1.0.0","resolved":"https://registry.example.com/a.tgz","integrity":"sha512-x"}}}`))
	if err != nil || strings.Contains(string(b), "resolved") || !strings.Contains(string(b), "sha512-x") {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := corpus.WithoutAddresses([]byte("[")); err == nil {
		t.Error("no error")
	}
}
