package correlate

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/falconer-sec/falconer/pkg/event"
)

// Bounds of what is kept of texts and lists, in bytes and entries.
const (
	maxText       = 512
	maxElement    = 256 // one command line of a process chain
	maxChain      = 16
	maxLog        = 64 << 10
	maxList       = 10_000
	maxIncomplete = 100
	maxBehaviours = 32
)

// cutMark ends a text that was cut, as Falcosidekick marks it.
const cutMark = "[...]"

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	end := n - len(cutMark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}

// bounded returns a copy of x whose lists and texts are no longer than they may
// be. A list that was cut says so.
func bounded(x *event.Exited) *event.Exited {
	b := *x
	b.Sandbox.Reason, b.Sandbox.Detail = cut(b.Sandbox.Reason, maxText), cut(b.Sandbox.Detail, 4*maxText)
	if n := len(b.Log); n > maxLog {
		b.Log = strings.ToValidUTF8(b.Log[n-maxLog:], "\uFFFD")
	}
	more := len(b.Incomplete) - maxIncomplete
	b.Incomplete = clipTexts(b.Incomplete)
	if more > 0 {
		b.Incomplete = append(b.Incomplete, "and "+strconv.Itoa(more)+" more reasons")
	}
	if len(b.Fetches) > maxList {
		b.Fetches = b.Fetches[:maxList]
		b.Incomplete = append(b.Incomplete, "the list of fetches was cut at "+strconv.Itoa(maxList))
	}
	if len(b.InstallScripts) > maxList {
		b.InstallScripts = b.InstallScripts[:maxList]
		b.Incomplete = append(b.Incomplete, "the list of install scripts was cut at "+strconv.Itoa(maxList))
	}
	return &b
}

func clipTexts(list []string) []string {
	out := make([]string, 0, min(len(list), maxIncomplete))
	for _, s := range list[:min(len(list), maxIncomplete)] {
		out = append(out, cut(s, maxText))
	}
	return out
}
