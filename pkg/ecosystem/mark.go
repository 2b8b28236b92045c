package ecosystem

import (
	"cmp"
	"path"
	"strconv"
	"strings"
)

// Mark is how a Step says, to whoever watches system calls, what it does: it
// opens, for reading, a path that can't exist (/dev/null is no folder) and so
// does nothing but be seen.
//
//	/dev/null/import/run/3             code of the 4th of Step.Packages runs from
//	                                   now on
//	/dev/null/import/in/1.0.0/DIR      code of the package in the folder DIR does,
//	                                   relative to the project's root; "-" in the
//	                                   version's place if it has not been looked up
//	/dev/null/import/own/0             no package's does
//	/dev/null/import/ok/3              it was loaded
//	/dev/null/import/failed/3/ERR_X    it could not be loaded; the reason is the
//	                                   loader's word for it, and at most a hint
//
// Whatever runs in the step's process can open such a path as well. So a mark
// says for sure only what nobody had a reason or a chance to forge: as long as
// code of one package alone has run in the process.
type Mark struct {
	State   string // MarkRun, MarkIn, MarkOwn, MarkLoaded, MarkFailed
	Index   int    // of Step.Packages, but for MarkIn and MarkOwn
	Reason  string // of MarkFailed
	Dir     string // of MarkIn
	Version string // of MarkIn, "" if unknown
}

// The states of a Mark.
const (
	MarkRun    = "run"
	MarkIn     = "in"
	MarkOwn    = "own"
	MarkLoaded = "ok"
	MarkFailed = "failed"
)

const (
	markPrefix = "/dev/null/import/"
	noVersion  = "-"
	maxReason  = 64 // bytes
)

// Path is what a step opens to make the mark.
func (m Mark) Path() string {
	if m.State == MarkIn {
		return markPrefix + m.State + "/" + cmp.Or(m.Version, noVersion) + "/" + m.Dir
	}
	p := markPrefix + m.State + "/" + strconv.Itoa(m.Index)
	if m.Reason != "" {
		p += "/" + m.Reason
	}
	return p
}

// ParseMark reads the path of an open. ok is false for any that is no mark.
func ParseMark(opened string) (m Mark, ok bool) {
	rest, ok := strings.CutPrefix(opened, markPrefix)
	if !ok {
		return Mark{}, false
	}
	if where, ok := strings.CutPrefix(rest, MarkIn+"/"); ok {
		return parseIn(where)
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Mark{}, false
	}
	m.State = parts[0]
	switch m.State {
	case MarkRun, MarkOwn, MarkLoaded, MarkFailed:
	default:
		return Mark{}, false
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n < 0 || strconv.Itoa(n) != parts[1] {
		return Mark{}, false
	}
	m.Index = n
	if len(parts) == 3 {
		if m.State != MarkFailed || !plain(parts[2]) {
			return Mark{}, false
		}
		m.Reason = parts[2]
	}
	return m, true
}

// parseIn reads what follows a MarkIn.
func parseIn(where string) (Mark, bool) {
	version, dir, ok := strings.Cut(where, "/")
	if !ok || version == "" || dir == "" || len(version) > 4*maxReason || path.Clean(dir) != dir || path.IsAbs(dir) {
		return Mark{}, false
	}
	if version == noVersion {
		version = ""
	}
	return Mark{State: MarkIn, Dir: dir, Version: version}, true
}

// plain reports whether a reason is a bare word.
func plain(s string) bool {
	if s == "" || len(s) > maxReason {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
