package gitlabtest

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Tree is the files of a commit, by path.
type Tree map[string]string

// Zero is what stands for no commit.
const Zero = "0000000000000000000000000000000000000000"

// Project is one repository and what hangs on it.
type Project struct {
	ID   int64
	Path string // with namespace

	s           *Server
	commits     map[string]*commit
	refs        map[string]string // "refs/heads/main" → commit
	fallback    []byte            // an archive that stands for any commit; may be nil
	statuses    []*Status
	pipelines   []*Pipeline
	requests    []*MergeRequest
	discussions map[int64][]*Discussion
}

type commit struct {
	sha, parent string
	files       Tree
	raw         []byte // an archive given as such
}

// Project adds a project, or returns the one that has this path.
func (s *Server) Project(id int64, path string) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.find(path); p != nil {
		return p
	}
	p := &Project{ID: id, Path: path, s: s, commits: map[string]*commit{}, refs: map[string]string{}, discussions: map[int64][]*Discussion{}}
	s.projects = append(s.projects, p)
	return p
}

// find looks a project up by number or path.
func (s *Server) find(id string) *Project {
	for _, p := range s.projects {
		if p.Path == id || strconv.FormatInt(p.ID, 10) == id {
			return p
		}
	}
	return nil
}

// Commit puts a commit with these files on top of a ref ("refs/heads/main"), and
// returns its hash. The same files on the same parent are the same commit.
func (p *Project) Commit(ref string, files Tree) string {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	parent := p.refs[ref]
	if parent == "" {
		parent = p.refs["refs/heads/main"]
	}
	sha := hash(p.Path, ref, parent, files)
	p.commits[sha] = &commit{sha: sha, parent: parent, files: maps.Clone(files)}
	p.refs[ref] = sha
	return sha
}

// CommitAs puts a commit whose hash the caller chose on top of a ref: the hash
// of a recorded webhook, for instance.
func (p *Project) CommitAs(ref, sha string, files Tree) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.commits[sha] = &commit{sha: sha, parent: p.refs[ref], files: maps.Clone(files)}
	p.refs[ref] = sha
}

// Archive makes raw the archive of a commit, as it is; for "" it is the archive
// of any commit that the project does not know.
func (p *Project) Archive(ref, sha string, raw []byte) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if sha == "" {
		p.fallback = raw
		return
	}
	p.commits[sha] = &commit{sha: sha, parent: p.refs[ref], raw: raw}
	if ref != "" {
		p.refs[ref] = sha
	}
}

func hash(parts ...any) string {
	h := sha1.New() // as git does
	for _, part := range parts {
		if files, ok := part.(Tree); ok {
			for _, name := range slices.Sorted(maps.Keys(files)) {
				_, _ = fmt.Fprintf(h, "%q %q\n", name, files[name])
			}
			continue
		}
		_, _ = fmt.Fprintf(h, "%q\n", part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// lookup finds a commit by hash, branch, tag or full ref.
func (p *Project) lookup(name string) *commit {
	if c := p.commits[name]; c != nil {
		return c
	}
	for _, prefix := range []string{"", "refs/heads/", "refs/tags/"} {
		if c := p.commits[p.refs[prefix+name]]; c != nil {
			return c
		}
	}
	if p.fallback != nil && len(name) == 40 {
		return &commit{sha: name, raw: p.fallback}
	}
	return nil
}

func (p *Project) webURL(base string) string { return base + "/" + p.Path }

// name is the last element of the path.
func (p *Project) name() string { return p.Path[strings.LastIndexByte(p.Path, '/')+1:] }

func (p *Project) describe(base string) map[string]any {
	return map[string]any{"id": p.ID, "name": p.name(), "path": p.name(), "path_with_namespace": p.Path, "web_url": p.webURL(base), "default_branch": "main"}
}

func (c *commit) describe() map[string]any {
	parents := []string{}
	if c.parent != "" {
		parents = append(parents, c.parent)
	}
	return map[string]any{"id": c.sha, "short_id": c.sha[:min(8, len(c.sha))], "title": "change", "message": "change\n", "parent_ids": parents}
}

// log lists a ref's commits, newest first.
func (p *Project) log(ref string) []map[string]any {
	if ref == "" {
		ref = "main"
	}
	var out []map[string]any
	for c := p.lookup(ref); c != nil && len(out) < 1000; c = p.commits[c.parent] {
		out = append(out, c.describe())
	}
	return out
}

func (p *Project) commit(sha string) answer {
	if c := p.lookup(sha); c != nil {
		return ok(c.describe())
	}
	return refused(http.StatusNotFound, "404 Commit Not Found")
}

func (p *Project) listBranches() []map[string]any {
	var out []map[string]any
	for _, ref := range slices.Sorted(maps.Keys(p.refs)) {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			out = append(out, map[string]any{"name": name, "default": name == "main", "commit": p.commits[p.refs[ref]].describe()})
		}
	}
	return out
}

func (p *Project) branch(name string) answer {
	c := p.commits[p.refs["refs/heads/"+name]]
	if c == nil {
		return refused(http.StatusNotFound, "404 Branch Not Found")
	}
	return ok(map[string]any{"name": name, "default": name == "main", "commit": c.describe()})
}

// readBody reads a request's body within MaxBody.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
}
