package canary

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
)

// Bounds of a look into compressed data.
const (
	maxInflated = 1 << 20 // bytes of one stream
	maxStreams  = 8       // streams in one piece of data
)

// Stream remembers where the search stands between two pieces of what belongs
// together, such as the writes to one connection. The zero Stream is at the
// beginning.
type Stream struct{ state uint32 }

// Matcher looks for a Set's canaries.
type Matcher struct{ a *automaton }

// Matcher returns the Set's matcher.
func (s *Set) Matcher() Matcher { return Matcher{s.matcher()} }

// Scan searches the next piece of a stream and returns what it found, each
// credential once. It does not look into compressed data. It allocates only if
// it finds something.
func (m Matcher) Scan(st *Stream, b []byte) []Hit {
	var out []Hit
	st.state = m.a.scan(st.state, b, func(h match, _ int) {
		out = with(out, h.Hit)
	})
	return out
}

// Find searches one piece of data as Scan does, and what is in gzip and zlib
// streams within it, base 64 and hexadecimal ones included.
func (s *Set) Find(b []byte) []Hit {
	m := s.Matcher()
	out := m.Scan(new(Stream), b)
	for _, h := range m.Inflated(b) {
		out = with(out, h)
	}
	return out
}

// Inflated searches what is in the compressed streams within b. A stream may
// break off with b.
func (m Matcher) Inflated(b []byte) []Hit {
	var out []Hit
	for _, text := range inflate(b) {
		for _, h := range m.Scan(new(Stream), text) {
			out = with(out, Hit{h.Name, "compressed, " + h.Form})
		}
	}
	return out
}

func with(list []Hit, h Hit) []Hit {
	if slices.ContainsFunc(list, func(o Hit) bool { return o.Name == h.Name }) {
		return list
	}
	return append(list, h)
}

// packings are how the beginning of a compressed stream looks.
var packings = []struct {
	magic  string
	decode func([]byte) []byte // what stands there, as far as it can be decoded
	open   func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b\x08", plain, gunzip},
	{"H4sI", unbase64, gunzip},
	{"1f8b08", unhex, gunzip},
	{"\x78\x01", plain, unzlib}, {"\x78\x9c", plain, unzlib}, {"\x78\xda", plain, unzlib},
	{"eAE", unbase64, unzlib}, {"eJ", unbase64, unzlib}, {"eNo", unbase64, unzlib}, {"eNp", unbase64, unzlib}, {"eNq", unbase64, unzlib}, {"eNr", unbase64, unzlib},
}

func inflate(b []byte) [][]byte {
	var out [][]byte
	for _, p := range packings {
		rest := b
		for range maxStreams {
			i := bytes.Index(rest, []byte(p.magic))
			if i < 0 {
				break
			}
			rest = rest[i:]
			if r, err := p.open(bytes.NewReader(p.decode(rest[:min(len(rest), maxInflated)]))); err == nil {
				text, _ := io.ReadAll(io.LimitReader(r, maxInflated)) // a stream that breaks off counts as far as it goes
				if len(text) >= coreSize {
					out = append(out, text)
				}
			}
			rest = rest[len(p.magic):]
		}
	}
	return out
}

func gunzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// unzlib skips the header; nobody asks for the checksum.
func unzlib(r io.Reader) (io.Reader, error) {
	if _, err := io.CopyN(io.Discard, r, 2); err != nil {
		return nil, err
	}
	return flate.NewReader(r), nil
}

func plain(b []byte) []byte { return b }

func unbase64(b []byte) []byte {
	end := bytes.IndexFunc(b, func(r rune) bool { return r >= 0x80 || classes[r] == 0 && r != '+' && r != '/' && r != '-' && r != '_' })
	if end >= 0 {
		b = b[:end]
	}
	b = bytes.Map(func(r rune) rune {
		switch r {
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, b)
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(b)))
	n, _ := base64.RawStdEncoding.Decode(out, b[:len(b)&^3]) // ends at what is none
	return out[:n]
}

func unhex(b []byte) []byte {
	out := make([]byte, len(b)/2)
	n, _ := hex.Decode(out, b[:len(b)&^1]) // ends at what is none
	return out[:n]
}
