package npm

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm/pack"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Names within the download cache.
const (
	preparedDir    = "_prepared"
	preparedScript = "npm.cjs"
	preparedList   = "packages.json"
	preparedLoader = "loader.cjs"
	preparedPack   = "modules"
)

// preparedSource runs in npm's process before npm does.
//
//go:embed prepared.cjs
var preparedSource []byte

var _ ecosystem.Preparer = Manager{}

// Prepare implements ecosystem.Preparer: npm runs as ever, all of it, but finds
// the content of these packages in place when it comes to unpacking them. What
// a lifecycle script can see is the same: the files below cacheDir and the
// variable that names them are gone before npm begins.
//
// An npm that does not fit the script installs everything itself, over what
// was prepared. With a pack of npm's own modules it loads them from there.
func (Manager) Prepare(cacheDir string, packages []ecosystem.Prepared, modules []byte) error {
	list := struct {
		Packages map[string]string `json:"packages"` // integrity by path
		Folders  []string          `json:"folders"`  // outermost node_modules folders
	}{map[string]string{}, PreparedFolders(packages)}
	for _, p := range packages {
		list.Packages[p.Path] = p.Integrity
	}
	raw, err := json.Marshal(list)
	dir := filepath.Join(cacheDir, preparedDir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	files := map[string][]byte{preparedList: raw, preparedScript: preparedSource}
	if len(modules) > 0 {
		files[preparedLoader], files[preparedPack] = pack.Loader, modules
	}
	for name, content := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
	}
	return fault.New("npm: hand over what was unpacked", fault.Transient, err)
}

// PreparedFolders lists the outermost node_modules folders that the packages
// are in, relative to the project's root, sorted.
func PreparedFolders(packages []ecosystem.Prepared) []string {
	var out []string
	for _, p := range packages {
		if before, _, ok := strings.Cut("/"+p.Path, "/"+modules); ok {
			out = append(out, strings.TrimPrefix(before+"/node_modules", "/"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
