package node

import (
	"path"
	"strings"
)

// maxPatterns and maxPattern bound what a manifest may make us match.
const (
	maxPatterns = 200
	maxPattern  = 256 // bytes
)

// Workspaces returns the manifest's workspace patterns: a list, or an object
// with a list under "packages".
func Workspaces(manifest Object) []string {
	list := manifest.Strings("workspaces")
	if list == nil {
		list = manifest.Sub("workspaces").Strings("packages")
	}
	if len(list) > maxPatterns {
		list = list[:maxPatterns]
	}
	return list
}

// MatchWorkspace reports whether dir (relative to the root) is a workspace
// member by the given patterns: globs with *, ?, [..], ** and {a,b}; a leading
// "!" takes back what earlier patterns matched. Patterns beyond the first 200
// are not looked at.
func MatchWorkspace(patterns []string, dir string) bool {
	in := false
	for _, p := range patterns[:min(len(patterns), maxPatterns)] {
		p, negated := strings.CutPrefix(p, "!")
		if len(p) > maxPattern {
			continue
		}
		for _, alt := range braces(p) {
			alt = strings.TrimPrefix(path.Clean("/"+alt), "/")
			if globPath(strings.Split(alt, "/"), strings.Split(dir, "/")) {
				in = !negated
			}
		}
	}
	return in
}

// braces expands the first {a,b} of a pattern; a second one stays literal,
// which at worst treats a member as a root of its own.
func braces(p string) []string {
	before, rest, ok := strings.Cut(p, "{")
	if !ok {
		return []string{p}
	}
	list, after, ok := strings.Cut(rest, "}")
	if !ok {
		return []string{p}
	}
	var out []string
	for alt := range strings.SplitSeq(list, ",") {
		out = append(out, before+alt+after)
	}
	return out
}

// globPath matches path segments; "**" stands for any number of them. It is
// quadratic at worst.
func globPath(pattern, segments []string) bool {
	// reach[j]: the pattern so far can have consumed the first j segments.
	reach := make([]bool, len(segments)+1)
	reach[0] = true
	for _, p := range pattern {
		next := make([]bool, len(segments)+1)
		for j := range reach {
			switch {
			case p == "**":
				next[j] = reach[j] || (j > 0 && next[j-1])
			case j > 0 && reach[j-1]:
				ok, err := path.Match(p, segments[j-1])
				next[j] = ok && err == nil
			}
		}
		reach = next
	}
	return reach[len(segments)]
}
