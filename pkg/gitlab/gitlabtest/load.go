package gitlabtest

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Load adds the projects of a directory:
//
//	<group>/<project>/<commit>.tar.gz   the archive of a commit, on top of main
//	<group>/<project>.tgz               the archive of any commit
//
// Projects are numbered from 1 in the order of their names. A directory that
// does not exist has none.
func (s *Server) Load(dir fs.FS) error {
	ids := map[string]int64{}
	return fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if name == "." && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		project, sha := path.Dir(name), ""
		if short, ok := strings.CutSuffix(name, ".tgz"); ok {
			project = short
		} else if sha, ok = strings.CutSuffix(path.Base(name), ".tar.gz"); !ok {
			return nil
		}
		raw, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		if ids[project] == 0 {
			ids[project] = int64(len(ids) + 1)
		}
		ref := "refs/heads/main"
		if sha == "" {
			ref = ""
		}
		s.Project(ids[project], project).Archive(ref, sha, raw)
		return nil
	})
}
