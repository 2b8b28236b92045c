package corpus

import (
	_ "embed" // the list
	"encoding/json"
	"strings"
)

//go:embed benign.txt
var benign string

// BenignBefore is the day of which the registry's packages are installed where
// the list of benign packages does not pin them, as npm's option "before".
const BenignBefore = "2026-11-01"

// Benign returns the manifests of projects that depend on real, popular packages
// with install scripts. All are optional dependencies: what can't be built on
// a machine must not end the others.
func Benign() ([][]byte, error) {
	var out [][]byte
	for line := range strings.Lines(benign) {
		packages := strings.Fields(line)
		if len(packages) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		deps := map[string]string{}
		for _, p := range packages {
			at := strings.LastIndexByte(p, '@')
			deps[p[:at]] = p[at+1:]
		}
		b, err := json.MarshalIndent(map[string]any{"name": "falconer-corpus-project-benign", "version": "1.0.0", "private": true, "optionalDependencies": deps}, "", "  ")
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// WithoutAddresses takes out of a lockfile where packages come from, so that
// they are fetched from the registry that is configured; what pins their
// content stays.
func WithoutAddresses(lock []byte) ([]byte, error) {
	var m map[string]any
	if err := json.Unmarshal(lock, &m); err != nil {
		return nil, err
	}
	packages, _ := m["packages"].(map[string]any)
	for _, p := range packages {
		if entry, ok := p.(map[string]any); ok {
			delete(entry, "resolved")
		}
	}
	return json.MarshalIndent(m, "", "  ")
}
