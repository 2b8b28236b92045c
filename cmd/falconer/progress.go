package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// progress tells a human what is going on, on standard error. On a terminal it
// is one line that changes, elsewhere a line each.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	live  bool
	width int
	quiet bool
	start time.Time
	names map[scan.ID]string
}

func newProgress(w io.Writer, o report.Options, quiet bool) *progress {
	return &progress{w: w, live: o.Width > 0, width: max(o.Width, 40), quiet: quiet, start: time.Now(), names: map[scan.ID]string{}}
}

// plan announces the scans.
func (p *progress) plan(plan planner.Plan) {
	for _, r := range plan.Requests {
		if len(plan.Requests) > 1 {
			p.names[r.ID] = r.Root + ": "
		}
		p.show(fmt.Sprintf("scanning %s (%s, %s)", r.Root, r.Manager, r.Lockfile))
	}
}

// line shows one line of a scan; hostile bytes are dropped.
func (p *progress) line(id scan.ID, text string) { p.show(p.names[id] + text) }

func (p *progress) show(text string) {
	if p.quiet {
		return
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if strings.TrimSpace(text) == "" {
		return
	}
	line := fmt.Sprintf("%5.1fs %s", time.Since(p.start).Seconds(), text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live {
		fmt.Fprintln(p.w, line)
		return
	}
	if r := []rune(line); len(r) >= p.width {
		line = string(r[:p.width-1])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
}

// done clears the changing line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live && !p.quiet {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
