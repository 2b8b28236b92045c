package sandbox

import (
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Lacks is the error of a recipe whose program is not on this machine's PATH.
func Lacks(p ecosystem.Program) error {
	return fault.Errorf(fault.Permanent, "%s is not installed (looked in PATH), and it is what runs inside the sandbox: %s", p.Name, p.Hint)
}
