package source

import (
	"io"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// countingReader counts compressed bytes and refuses more than max.
type countingReader struct {
	r   io.Reader
	n   int64
	max int64
}

// Read reads from the wrapped reader.
func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.n += int64(n); c.n > c.max {
		return 0, fault.Errorf(fault.TooLarge, "source: the archive is larger than %s", size(c.max))
	}
	return n, err
}

// ratioReader refuses a stream that unpacks to far more than it holds.
type ratioReader struct {
	r     io.Reader
	in    *countingReader
	out   int64
	ratio int64
}

// Read reads from the wrapped reader.
func (c *ratioReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.out += int64(n); c.out > RatioFrom && c.out/c.ratio > c.in.n {
		return 0, fault.Errorf(fault.TooLarge, "source: the archive unpacks to more than %d times its size", c.ratio)
	}
	return n, err
}

// errorWriter remembers that writing failed, which tells a full disk from a
// damaged archive.
type errorWriter struct {
	w   io.Writer
	err error
}

// Write writes to the wrapped writer.
func (e *errorWriter) Write(b []byte) (int, error) {
	n, err := e.w.Write(b)
	if err != nil {
		e.err = err
	}
	return n, err
}
