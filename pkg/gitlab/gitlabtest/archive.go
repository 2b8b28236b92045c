package gitlabtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// archive answers repository/archive.tar.gz: the commit's files below
// <project>-<hash>-<hash>/.
func (p *Project) archive(sha string) answer {
	if sha == "" {
		sha = "main"
	}
	c := p.lookup(sha)
	if c == nil {
		return refused(http.StatusNotFound, "404 File Not Found")
	}
	raw := c.raw
	if raw == nil {
		var err error
		if raw, err = pack(p.name()+"-"+c.sha+"-"+c.sha, c.files); err != nil {
			return refused(http.StatusInternalServerError, "")
		}
	}
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	h.Set("Content-Disposition", `attachment; filename="`+p.name()+"-"+c.sha+`.tar.gz"`)
	return answer{status: http.StatusOK, header: h, raw: raw}
}

// pack makes a gzip-compressed tar archive of files below a directory.
func pack(top string, files Tree) ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	errs := []error{w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: 0o755})}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		errs = append(errs, w.WriteHeader(&tar.Header{Name: path.Join(top, name), Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := w.Write([]byte(files[name]))
		errs = append(errs, err)
	}
	errs = append(errs, w.Close(), zip.Close())
	return b.Bytes(), errors.Join(errs...)
}

// file answers repository/files/:path: its metadata in the header, and for GET
// its content too.
func (p *Project) file(r request, name string) answer {
	c := p.lookup(r.query.Get("ref"))
	if c == nil {
		return refused(http.StatusNotFound, "404 Commit Not Found")
	}
	text, found := c.files[name]
	if !found {
		return refused(http.StatusNotFound, "404 File Not Found")
	}
	sum := sha256.Sum256([]byte(text))
	h := http.Header{}
	for k, v := range map[string]string{"Content-Sha256": hex.EncodeToString(sum[:]), "File-Name": path.Base(name), "File-Path": name,
		"Size": strconv.Itoa(len(text)), "Ref": r.query.Get("ref"), "Commit-Id": c.sha, "Encoding": "base64", "Blob-Id": hash("blob", text)} {
		h.Set("X-Gitlab-"+k, v)
	}
	if r.Method == http.MethodHead {
		return answer{status: http.StatusOK, header: h}
	}
	a := ok(map[string]any{"file_name": path.Base(name), "file_path": name, "size": len(text), "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString([]byte(text)), "content_sha256": hex.EncodeToString(sum[:]), "ref": r.query.Get("ref"), "commit_id": c.sha})
	a.header = h
	return a
}

// diff is one file of a comparison.
type diff struct {
	OldPath   string `json:"old_path"`
	NewPath   string `json:"new_path"`
	New       bool   `json:"new_file"`
	Renamed   bool   `json:"renamed_file"`
	Deleted   bool   `json:"deleted_file"`
	Collapsed bool   `json:"collapsed"`
	TooLarge  bool   `json:"too_large"`
	Diff      string `json:"diff"`
}

// MaxDiffs is how many files a comparison names; as GitLab does, it leaves out
// the rest without a word.
const MaxDiffs = 1000

// compare answers repository/compare. Without straight=true it begins at the
// common ancestor.
func (p *Project) compare(r request) answer {
	from, to := p.lookup(r.query.Get("from")), p.lookup(r.query.Get("to"))
	if from == nil || to == nil {
		return refused(http.StatusNotFound, "404 Ref Not Found")
	}
	if r.query.Get("straight") != "true" {
		from = p.base(from, to)
	}
	diffs := differences(from.files, to.files)
	return ok(map[string]any{"commit": to.describe(), "commits": []any{to.describe()}, "diffs": diffs[:min(len(diffs), MaxDiffs)],
		"compare_timeout": false, "compare_same_ref": from == to})
}

// base finds the newest commit that both descend from.
func (p *Project) base(a, b *commit) *commit {
	seen := map[string]bool{}
	for c := a; c != nil; c = p.commits[c.parent] {
		seen[c.sha] = true
	}
	for c := b; c != nil; c = p.commits[c.parent] {
		if seen[c.sha] {
			return c
		}
	}
	return &commit{}
}

func differences(from, to Tree) []diff {
	out := []diff{}
	names := map[string]bool{}
	for n := range from {
		names[n] = true
	}
	for n := range to {
		names[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		before, was := from[n]
		after, is := to[n]
		if was && is && before == after {
			continue
		}
		out = append(out, diff{OldPath: n, NewPath: n, New: !was, Deleted: !is,
			Diff: "@@ -1 +1 @@\n-" + strings.ReplaceAll(before, "\n", "\n-") + "\n+" + strings.ReplaceAll(after, "\n", "\n+") + "\n"})
	}
	return out
}
