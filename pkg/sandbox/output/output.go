// Package output keeps what an installer writes, in bounded memory: the
// beginning up to a limit, the end, and a count of all of it. Writing never
// fails and never waits for a reader, so that a sandbox can't block on it.
package output

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// TailBytes bounds the end that is kept, in bytes.
const TailBytes = 16 << 10

// Output is one run's output. It is safe for concurrent use.
type Output struct {
	mu       sync.Mutex
	limit    int64
	head     []byte
	ring     []byte // the last TailBytes
	line     []byte
	progress func(string)
	count    atomic.Int64
}

// MaxLine bounds a line shown as progress, in bytes.
const MaxLine = 240

var _ io.Writer = (*Output)(nil)

// New keeps the first limit bytes. Each line goes to progress, cut to MaxLine
// and made valid UTF-8, as it comes; progress may be nil and must not block.
func New(limit int64, progress func(string)) *Output {
	return &Output{limit: limit, progress: progress}
}

// Write implements io.Writer and never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.count.Add(int64(len(p)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := o.limit - int64(len(o.head)); room > 0 {
		o.head = append(o.head, p[:min(int64(len(p)), room)]...)
	}
	o.ring = append(o.ring, p[max(0, len(p)-TailBytes):]...)
	if len(o.ring) > 2*TailBytes {
		o.ring = append(o.ring[:0], o.ring[len(o.ring)-TailBytes:]...)
	}
	if o.progress != nil {
		o.lines(p)
	}
	return len(p), nil
}

func (o *Output) lines(p []byte) {
	for _, c := range p {
		if c != '\n' {
			if len(o.line) < MaxLine {
				o.line = append(o.line, c)
			}
			continue
		}
		o.progress(strings.ToValidUTF8(string(o.line), "\uFFFD"))
		o.line = o.line[:0]
	}
}

// Total returns the number of bytes written.
func (o *Output) Total() int64 { return o.count.Load() }

// Tail returns the end of the output, TailBytes at most, as valid UTF-8.
func (o *Output) Tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.ring[max(0, len(o.ring)-TailBytes):]
	for len(b) > 0 && len(o.ring) > TailBytes && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// LastLine returns the last line of the output, cut to MaxLine.
func (o *Output) LastLine() string {
	lines := strings.Split(strings.TrimSpace(o.Tail()), "\n")
	l := lines[len(lines)-1]
	return l[:min(len(l), MaxLine)]
}

// Save writes the kept head, and the tail if something lies between, to a file.
func (o *Output) Save(name string) error {
	o.mu.Lock()
	text := append([]byte(nil), o.head...)
	o.mu.Unlock()
	if o.Total() > int64(len(text)) {
		text = append(text, "\n[... cut ...]\n"+o.Tail()...)
	}
	return os.WriteFile(name, text, 0o600)
}

// Problem says that some of the output is not kept, "" if all of it is.
func (o *Output) Problem() string {
	if n := o.Total(); n > o.limit {
		return fmt.Sprintf("the installer wrote %d bytes, of which the first %d and the end are kept", n, o.limit)
	}
	return ""
}
