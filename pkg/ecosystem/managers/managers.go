// Package managers is the one list of the package managers that are supported:
// what plans, runs, serves and attributes scans takes it from here.
package managers

import (
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/bundler"
	"github.com/falconer-sec/falconer/pkg/ecosystem/cargo"
	"github.com/falconer-sec/falconer/pkg/ecosystem/composer"
	"github.com/falconer-sec/falconer/pkg/ecosystem/gomod"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pip"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pnpm"
	"github.com/falconer-sec/falconer/pkg/ecosystem/pylock"
	"github.com/falconer-sec/falconer/pkg/ecosystem/unscanned"
)

// All returns every manager, in the order in which users are told of them. A
// new one gets a line here. Those whose projects can't be scanned yet are last.
func All() []ecosystem.Manager {
	out := []ecosystem.Manager{
		npm.Manager{},
		pnpm.Manager{},
		pip.Manager{},
		cargo.Manager{},
		bundler.Manager{},
		gomod.Manager{},
		composer.Manager{},
		pylock.Poetry{},
		pylock.UV{},
	}
	for _, m := range unscanned.Managers() {
		out = append(out, m)
	}
	return out
}

// ByName returns every manager by its name.
func ByName() map[string]ecosystem.Manager {
	out := map[string]ecosystem.Manager{}
	for _, m := range All() {
		out[m.Name()] = m
	}
	return out
}
