package sensor

import (
	"net/url"
	"path"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// byFolder names packages by the folder that they are installed in, where there
// is no lockfile to ask: a name without a version.
type byFolder struct{ ecosystem.Manager }

const modules = "node_modules/"

// Place implements ecosystem.Manager.
func (b byFolder) Place(p ecosystem.Project, s ecosystem.Setting, e ecosystem.Exec) (ecosystem.Place, bool) {
	at, inside := strings.CutPrefix(path.Clean(e.Cwd), path.Clean(s.Work)+"/")
	i := strings.LastIndex(at, modules)
	if !inside || i < 0 {
		return b.Manager.Place(p, s, e)
	}
	name := at[i+len(modules):]
	parts := strings.SplitN(name, "/", 3)
	if name = parts[0]; strings.HasPrefix(name, "@") && len(parts) > 1 {
		name += "/" + parts[1]
	}
	pkg := finding.Package{Name: name, PURL: "pkg:npm/" + strings.Replace(url.PathEscape(name), "%2F", "/", 1), Path: at[:i+len(modules)] + name}
	// The folder itself is all that the manager needs to know to find the place.
	p.Packages = []ecosystem.Package{{Package: pkg}}
	return b.Manager.Place(p, s, e)
}
