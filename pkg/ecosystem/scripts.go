package ecosystem

import "github.com/falconer-sec/falconer/pkg/finding"

// InstallScripts returns the packages that the lockfile says have code that
// runs at their install, in the project's order. Which scripts is known only
// once their manifests are seen, so Scripts is empty.
func InstallScripts(p Project) []finding.ScriptPackage {
	var out []finding.ScriptPackage
	for _, pkg := range p.Packages {
		if pkg.HasScripts && !pkg.Link {
			out = append(out, finding.ScriptPackage{Package: pkg.Package})
		}
	}
	return out
}
