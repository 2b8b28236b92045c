package world

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"

	"github.com/falconer-sec/falconer/test/corpus"
)

// own holds the projects that only make sense in a cluster.
//
//go:embed cases/*/package.json cases/*/package-lock.json cases/*/expect.json cases/*/packages
var own embed.FS

// Cases returns the corpus and the projects that only make sense in a cluster,
// by name.
func Cases() (map[string]corpus.Case, error) {
	mine, err := fs.Sub(own, "cases")
	if err != nil {
		return nil, err
	}
	out := map[string]corpus.Case{}
	for _, dir := range []fs.FS{corpus.FS, mine} {
		cases, err := corpus.Load(dir)
		if err != nil {
			return nil, err
		}
		for _, c := range slices.DeleteFunc(cases, func(c corpus.Case) bool { return c.Expect.Real }) {
			if _, ok := out[c.Name]; ok {
				return nil, fmt.Errorf("world: two cases are called %s", c.Name)
			}
			out[c.Name] = c
		}
	}
	return out, nil
}
