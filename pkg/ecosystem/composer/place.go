package composer

import (
	"github.com/falconer-sec/falconer/pkg/ecosystem"
)

// Place finds nobody: the install runs no package's code, which is left to the
// recipe's steps.
func (Manager) Place(ecosystem.Project, ecosystem.Setting, ecosystem.Exec) (ecosystem.Place, bool) {
	return ecosystem.Place{}, false
}
