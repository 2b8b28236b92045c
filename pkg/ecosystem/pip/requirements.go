package pip

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// reader turns requirements files into packages and problems.
type reader struct {
	fsys     fs.FS
	root     string
	seen     map[string]bool // files read
	raw      []byte          // of all files, for the digest
	packages map[string]ecosystem.Package
	hashed   bool // every requirement so far has a hash
	problems []string
	unlisted int
}

func newReader(fsys fs.FS, root string) *reader {
	return &reader{fsys: fsys, root: root, seen: map[string]bool{}, packages: map[string]ecosystem.Package{}, hashed: true}
}

func (r *reader) problem(format string, args ...any) {
	if len(r.problems) >= MaxProblems {
		r.unlisted++
		return
	}
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *reader) listProblems() []string {
	if r.unlisted == 0 {
		return r.problems
	}
	return append(r.problems, fmt.Sprintf("and %d more problems like these", r.unlisted))
}

// file reads one requirements file, a path within the source. constraints says
// that what it lists is not installed but only bounded.
func (r *reader) file(name string, constraints bool) error {
	if r.seen[name] {
		return nil
	}
	if len(r.seen) >= MaxFiles {
		return fault.Errorf(fault.TooLarge, "%s: more than %d requirements files", name, MaxFiles)
	}
	r.seen[name] = true
	b, err := tree.Read(r.fsys, name, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Errorf(fault.Invalid, "%s: no such file", name)
	}
	if err != nil {
		return err
	}
	if strings.ContainsRune(string(b), 0) {
		return fault.Errorf(fault.Invalid, "%s: not a text file", name)
	}
	r.raw = append(append(append(r.raw, name...), 0), b...)
	for _, line := range logicalLines(string(b)) {
		if err := r.line(name, line, constraints); err != nil {
			return err
		}
	}
	return nil
}

// logicalLines joins lines that end in a backslash, and drops comments and
// empty lines, in pip's order: a comment line within a continuation ends it.
func logicalLines(text string) []string {
	var out []string
	var open strings.Builder
	flush := func() {
		if line := strings.TrimSpace(open.String()); line != "" {
			out = append(out, line)
		}
		open.Reset()
	}
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.Lines(strings.ReplaceAll(text, "\r", "\n")) {
		line = strings.TrimSuffix(line, "\n")
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		before, goesOn := strings.CutSuffix(line, `\`)
		if goesOn && !comment {
			open.WriteString(before)
			continue
		}
		open.WriteString(uncommented(" " + line))
		flush()
	}
	flush()
	return out
}

// uncommented cuts a comment: a # after white space.
func uncommented(line string) string {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i-1]
		}
	}
	return line
}

// line reads one logical line.
func (r *reader) line(file, line string, constraints bool) error {
	if !strings.HasPrefix(line, "-") {
		return r.requirement(file, line, constraints)
	}
	option, value := splitOption(line)
	switch option {
	case "-r", "--requirement":
		return r.include(file, value, constraints)
	case "-c", "--constraint":
		return r.include(file, value, true)
	case "-e", "--editable":
		r.hashed = false // pip takes no hash for a folder
		r.foreign(file, value)
	case "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host":
		r.problem("%s: %s asks for packages from elsewhere, which the scan does not do", file, option)
	case "--require-hashes", "--no-index", "--pypi-url", "--pre", "--prefer-binary", "--no-binary", "--only-binary", "--use-feature":
		// pip itself reads the file in the sandbox
	default:
		r.problem("%s: %.100q is an option that the scan does not know", file, option)
	}
	return nil
}

// splitOption splits "--name=value", "--name value", "-n value" and "-nvalue".
func splitOption(line string) (option, value string) {
	if i := strings.IndexAny(line, "= \t"); i >= 0 && (strings.HasPrefix(line, "--") || line[i] != '=') {
		return line[:i], strings.Trim(strings.TrimLeft(line[i:], "= \t"), `"' `)
	}
	if !strings.HasPrefix(line, "--") && len(line) > 2 {
		return line[:2], line[2:]
	}
	return line, ""
}

// include reads a file that another one names, relative to itself.
func (r *reader) include(from, name string, constraints bool) error {
	if strings.Contains(name, "://") || strings.Contains(name, "$") {
		r.problem("%s includes %.100q, which the scan can't read", from, name)
		return nil
	}
	at := path.Join(path.Dir(from), name)
	if path.IsAbs(name) || !fs.ValidPath(at) {
		return fault.Errorf(fault.Invalid, "%s includes %.200q, which lies outside of the source", from, name)
	}
	return r.file(at, constraints)
}

// foreign notes a requirement that is a folder, an archive or an address. One
// that lies in the source is the project's own code.
func (r *reader) foreign(file, what string) {
	if !strings.Contains(what, "://") && !strings.Contains(what, "@") {
		return
	}
	r.problem("%s: %.100q comes from an address, not from a package index", file, what)
}

// requirement reads one requirement with its options.
func (r *reader) requirement(file, line string, constraints bool) error {
	spec, options := splitOptions(line)
	spec, _, _ = strings.Cut(spec, ";") // a marker: pip decides
	spec = strings.TrimSpace(spec)
	m := requirement.FindStringSubmatch(spec)
	local := strings.HasPrefix(spec, ".") || strings.HasPrefix(spec, "/")
	switch {
	case constraints:
		return nil
	case local || strings.Contains(spec, "://") || m == nil:
		r.hashed = false
		if m == nil && !local && !strings.Contains(spec, "://") {
			return fault.Errorf(fault.Invalid, "%s: %.100q is not a requirement", file, line)
		}
		r.foreign(file, spec)
		return nil
	}
	name, what := m[1], strings.TrimSpace(m[2])
	if !ValidName(name) {
		return fault.Errorf(fault.Invalid, "%s: %.100q is not a distribution's name", file, name)
	}
	if strings.HasSuffix(name, ".whl") || strings.HasSuffix(name, ".tar.gz") {
		return nil // an archive in the source
	}
	version := ""
	if v := pinned.FindStringSubmatch(what); v != nil && len(v[1]) <= maxName {
		version = v[1]
	} else {
		r.problem("%s: %s is not pinned to one version (%.60q)", file, NormalName(name), what)
	}
	p := Package(name, version)
	hashes := hashesOf(options)
	sri, ok := Integrity(hashes)
	if !ok {
		return fault.Errorf(fault.Invalid, "%s: %s has a hash that is none", file, p.Name)
	}
	if len(hashes) == 0 && version != "" {
		r.problem("%s: %s %s has no hash", file, p.Name, version)
	}
	r.hashed = r.hashed && len(hashes) > 0
	p.Integrity = sri
	if _, again := r.packages[p.Name+"\x00"+version]; !again && len(r.packages) >= MaxPackages {
		return fault.Errorf(fault.TooLarge, "%s: more than %d requirements", file, MaxPackages)
	}
	r.packages[p.Name+"\x00"+version] = p
	return nil
}

// splitOptions cuts a requirement's own options off: they begin at the first
// word that starts with "--".
func splitOptions(line string) (spec string, options []string) {
	words := strings.Fields(line)
	for i, w := range words {
		if strings.HasPrefix(w, "--") {
			return strings.Join(words[:i], " "), words[i:]
		}
	}
	return line, nil
}

func hashesOf(options []string) []string {
	var out []string
	for i, o := range options {
		if h, ok := strings.CutPrefix(o, "--hash="); ok {
			out = append(out, h)
		} else if o == "--hash" && i+1 < len(options) {
			out = append(out, options[i+1])
		}
	}
	return out
}

// sorted returns the packages by name and version.
func (r *reader) sorted() []ecosystem.Package {
	out := make([]ecosystem.Package, 0, len(r.packages))
	for _, p := range r.packages {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b ecosystem.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return out
}
