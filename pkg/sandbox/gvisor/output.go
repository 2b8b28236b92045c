package gvisor

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// tailBytes bounds the log that goes into a result.
const tailBytes = 16 << 10

// output keeps the first part of what the installer writes and the end of it,
// and counts the rest. Lines go to progress as they come.
type output struct {
	mu       sync.Mutex
	limit    int64
	head     []byte
	ring     []byte // the last tailBytes
	line     []byte
	progress func(string)
	count    atomic.Int64
}

// maxLine bounds a line shown as progress, in bytes.
const maxLine = 240

func newOutput(limit int64, progress func(string)) *output {
	return &output{limit: limit, progress: progress}
}

// Write never fails: the sandbox must not be able to block on us.
func (o *output) Write(p []byte) (int, error) {
	o.count.Add(int64(len(p)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if room := o.limit - int64(len(o.head)); room > 0 {
		o.head = append(o.head, p[:min(int64(len(p)), room)]...)
	}
	o.ring = append(o.ring, p[max(0, len(p)-tailBytes):]...)
	if len(o.ring) > 2*tailBytes {
		o.ring = append(o.ring[:0], o.ring[len(o.ring)-tailBytes:]...)
	}
	if o.progress != nil {
		o.lines(p)
	}
	return len(p), nil
}

func (o *output) lines(p []byte) {
	for _, c := range p {
		if c != '\n' {
			if len(o.line) < maxLine {
				o.line = append(o.line, c)
			}
			continue
		}
		o.progress(strings.ToValidUTF8(string(o.line), "\uFFFD"))
		o.line = o.line[:0]
	}
}

func (o *output) total() int64 { return o.count.Load() }

// tail returns the end of the output as valid UTF-8.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.ring[max(0, len(o.ring)-tailBytes):]
	for len(b) > 0 && len(o.ring) > tailBytes && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// save writes the kept head, and the tail if something lies between, to a file.
func (o *output) save(name string) error {
	o.mu.Lock()
	text := append([]byte(nil), o.head...)
	o.mu.Unlock()
	if o.total() > int64(len(text)) {
		text = append(text, "\n[... cut ...]\n"+o.tail()...)
	}
	return os.WriteFile(name, text, 0o600)
}
