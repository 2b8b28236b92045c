package corpus

import (
	"encoding/json"
	"fmt"

	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
)

type entry struct {
	Name             string            `json:"name,omitempty"`
	Version          string            `json:"version"`
	Integrity        string            `json:"integrity,omitempty"`
	HasInstallScript bool              `json:"hasInstallScript,omitempty"`
	Dependencies     map[string]string `json:"dependencies,omitempty"`
}

// Lockfile makes the lockfile of a case whose packages are all its own: each
// installed at the top, without addresses.
func (c Case) Lockfile() ([]byte, error) {
	files, err := c.manifest()
	if err != nil {
		return nil, err
	}
	published, err := c.Publish(registrytest.New())
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{"": {Name: files.Name, Version: files.Version, Dependencies: files.Dependencies}}
	for _, p := range published {
		entries["node_modules/"+p.Name] = entry{Version: p.Version, Integrity: p.Integrity,
			HasInstallScript: p.HasInstallScript(), Dependencies: p.Dependencies()}
	}
	b, err := json.MarshalIndent(map[string]any{
		"name": files.Name, "version": files.Version, "lockfileVersion": 3, "requires": true, "packages": entries,
	}, "", "  ")
	return append(b, '\n'), err
}

func (c Case) manifest() (m entry, err error) {
	files, err := c.Project()
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(files["package.json"], &m); err != nil {
		return m, fmt.Errorf("corpus: %s: package.json: %w", c.Name, err)
	}
	return m, nil
}
