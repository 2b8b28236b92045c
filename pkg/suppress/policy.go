package suppress

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Sources are the files that may speak of a source's findings.
type Sources struct {
	// Central is the operator's file.
	Central File
	// Target is the file of the branch that the change is to be merged into, as it
	// was before the change. It counts.
	Target File
	// Own is the file that the source under scan brings along. What it has beyond
	// the others is void.
	Own File
	// NoTarget says why there is no Target to compare with; "" if there is one, or
	// the branch has no file.
	NoTarget string
	// Problems are files that could not be read, and why.
	Problems []string
}

// voids says why what stands in the source alone does not count.
const (
	voidNew = "added or changed by the change under scan: it counts once the target branch has it"
	voidOwn = "it stands in the scanned source only, and nobody else vouches for it: "
)

// Policy puts together what counts for the scan of one project root. Equal
// suppressions stand once. A target branch's suppression that the change removes
// holds until it is merged. kinds are the types of package URLs that the root pins:
// others' suppressions are another project's business.
func (s Sources) Policy(root string, kinds map[string]bool) scan.Policy {
	var p scan.Policy
	seen := map[scan.Suppression]bool{}
	add := func(list []scan.Suppression, void string) {
		for _, e := range list {
			k := key(e)
			if seen[k] || len(kinds) > 0 && !kinds[Kind(e.Package)] || e.Root != "" && path.Clean(e.Root) != path.Clean(root) {
				continue
			}
			seen[k] = true
			if len(p.Suppressions) == scan.MaxSuppressions {
				if void == "" { // what counts comes first, and fits: two files of MaxEntries
					return
				}
				p.Problems = append(p.Problems, FileName+": too many suppressions that do not count: not all are listed")
				return
			}
			e.Void = void
			p.Suppressions = append(p.Suppressions, e)
		}
	}
	add(s.Central.Entries, "")
	add(s.Target.Entries, "")
	void := voidNew
	if s.NoTarget != "" {
		void = voidOwn + s.NoTarget
	}
	add(s.Own.Entries, void)
	p.Problems = append(p.Problems, slices.Clone(s.Problems[:min(len(s.Problems), 10)])...)
	return p
}

// key is what makes two suppressions the same, wherever they stand.
func key(s scan.Suppression) scan.Suppression {
	s.Source, s.Line, s.Void = "", 0, ""
	return s
}

// Read reads the file at the top of a source; a source without one has an empty
// File. Errors begin with the file's name: fault.Invalid for one that is no file,
// is too large or can't be decoded.
func Read(root *os.Root) (File, error) {
	info, err := root.Lstat(FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return File{Name: FileName}, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return File{}, fault.Errorf(fault.Invalid, "%s:1: not a regular file", FileName)
	}
	if err != nil {
		return File{}, fault.New(FileName, fault.Transient, err)
	}
	f, err := root.Open(FileName)
	if err != nil {
		return File{}, fault.New(FileName, fault.Transient, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return File{}, fault.New(FileName, fault.Transient, err)
	}
	return Decode(FileName, b)
}

// Variable names the environment variable with the operator's file.
const Variable = "FALCONER_SUPPRESSIONS"

// Central reads the operator's file, an empty File if none is named: a file that
// is configured is read or is fault.Permanent.
func Central(name string) (File, error) {
	if name == "" {
		return File{}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return File{}, fault.New("suppressions", fault.Permanent, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return File{}, fault.New("suppressions", fault.Permanent, err)
	}
	out, err := Decode(path.Base(strings.ReplaceAll(name, `\`, "/")), b)
	return out, fault.New("suppressions", fault.Permanent, err)
}
