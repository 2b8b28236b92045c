// Package shipped has the detection rules that come with Falconer, and reads a
// directory of others in their place.
//
// Guarantees: the shipped rules load, always to the same version; of a
// directory every *.yaml file counts, or there is an error.
package shipped

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/falconer-sec/falconer/config"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Load loads the shipped rules, or those of a directory (*.yaml) in their
// place. Rules that can't be evaluated, and a directory without any, are
// fault.Invalid.
func Load(dir string) (*rules.Set, error) {
	fsys, at := fs.FS(config.Falco), "falco"
	if dir != "" {
		fsys, at = os.DirFS(dir), "."
	}
	names, err := fs.Glob(fsys, path.Join(at, "*.yaml"))
	if err == nil && len(names) == 0 {
		err = errors.New("no *.yaml file there")
	}
	if err != nil {
		return nil, fault.New("load rules from "+dir, fault.Invalid, err)
	}
	var files []rules.File
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fault.New("load rules", fault.Invalid, err)
		}
		files = append(files, rules.File{Name: path.Base(name), Data: data})
	}
	if dir == "" {
		files = append(files, rules.SensorOverrides(), rules.CanaryRules())
	}
	return rules.Load(rules.SensorFields(), files...)
}
