package remote

import (
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// kinds says which records each of stock gVisor's points brings.
var kinds = map[string][]string{
	"container/start":       {record.KindStart},
	"sentry/clone":          {record.KindClone},
	"sentry/execve":         {record.KindExec, "execveat"},
	"sentry/task_exit":      {record.KindExit},
	"syscall/open/exit":     {"open"},
	"syscall/creat/exit":    {"creat"},
	"syscall/openat/exit":   {"openat"},
	"syscall/connect/enter": {"connect"},
	"syscall/bind/exit":     {"bind"},
	"syscall/accept/enter":  {"accept"},
	"syscall/accept4/enter": {"accept4"},
	"syscall/listen/exit":   {"listen"},
	"syscall/ptrace/enter":  {"ptrace"},
}

// needed are the points without which nothing can be attributed or judged.
var needed = []string{"container/start", "sentry/clone", "sentry/execve", "sentry/task_exit"}

// StockPoints is the trace session that docs/runtimeclass.md has the node's
// administrator set up.
func StockPoints() []string {
	return []string{"container/start", "sentry/clone", "sentry/execve", "sentry/task_exit", "syscall/openat/exit", "syscall/connect/enter"}
}

// CheckPoints returns the points of a trace session that Falconer does not know
// and those that it can't do without.
func CheckPoints(points []string) (unknown, missing []string) {
	for _, p := range points {
		if kinds[p] == nil {
			unknown = append(unknown, p)
		}
	}
	for _, p := range needed {
		if !slices.Contains(points, p) {
			missing = append(missing, p)
		}
	}
	return unknown, missing
}

// Unwatched says, in plain words, what a trace session of these points does not
// show: the rules that can't match at all, what others miss, and what stock
// gVisor loses whatever the points.
func Unwatched(set *rules.Set, points []string) []string {
	seen := map[string]bool{}
	for _, p := range points {
		for _, k := range kinds[p] {
			seen[k] = true
		}
	}
	var out, blinded []string
	missing := map[string]bool{}
	for _, r := range set.Rules() {
		blind := true
		for _, t := range r.EventTypes {
			if seen[t] {
				blind = false
			} else {
				missing[t] = true
			}
		}
		if blind {
			blinded = append(blinded, r.Name)
		}
	}
	if len(blinded) > 0 {
		out = append(out, "rules whose system calls this runtime does not report: "+strings.Join(blinded, ", "))
	}
	if missing["openat2"] {
		out = append(out, "files opened with openat2(2), and what a symbolic link leads to, are not seen")
	}
	if missing["sendto"] {
		out = append(out, "sends without a connection, name lookups among them, are not seen")
	}
	if missing["rename"] {
		out = append(out, "renaming, linking, deleting and changing the mode of files is not seen")
	}
	return append(out, "events that hold a text which is not UTF-8 (a file's or a process's name) are lost")
}
