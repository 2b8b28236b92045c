package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/registry"
	"github.com/falconer-sec/falconer/pkg/registry/folder"
)

// folders opens the way to packages of every kind that is not npm's: the folder
// that the user names, or the error that says to name one.
func folders(named map[string]string) (map[string]func(bool) (registry.Gateway, error), error) {
	out := map[string]func(bool) (registry.Gateway, error){}
	var kinds []string
	for _, m := range managers.All() {
		kind := m.Recipe(ecosystem.Project{}, ecosystem.Setting{}).Registry
		if kind == "" || kind == ecosystem.RegistryNPM || slices.Contains(kinds, kind) {
			continue
		}
		kinds = append(kinds, kind)
		dir := named[kind]
		if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
			return nil, fmt.Errorf("--packages: there is no directory %s", dir)
		}
		if dir != "" {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return nil, err
			}
			dir = abs
		}
		out[kind] = func(bool) (registry.Gateway, error) { return folder.Gateway{Kind: kind, Dir: dir}, nil }
	}
	for kind := range named {
		if !slices.Contains(kinds, kind) {
			return nil, fmt.Errorf("--packages: %.40q is none of %s", kind, strings.Join(kinds, ", "))
		}
	}
	return out, nil
}
