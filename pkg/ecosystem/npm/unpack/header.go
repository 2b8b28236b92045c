package unpack

import (
	"bytes"
	"io/fs"
	"strconv"
	"unicode/utf8"
)

const blockSize = 512

type kind byte

const (
	file kind = iota
	folder
	link // symbolic or hard: npm skips it
)

// header is a tar header in its plain form.
type header struct {
	name string
	kind kind
	size int64
	mode fs.FileMode // as npm sets it
}

// Fields of a header block: where each begins, and where the next one does.
const (
	atMode, atUID      = 100, 108
	atGID, atSize      = 116, 124
	atMtime            = 136
	atSum, atType      = 148, 156
	atTarget, atMagic  = 157, 257
	atMajor, atMinor   = 329, 337
	atPrefix, endBlock = 345, 500
)

// parseHeader reads a header that every reader of tar reads the same way.
func parseHeader(b *[blockSize]byte) (header, error) {
	var h header
	sum, err := octal(b[atSum:atType])
	if err != nil || sum != checksum(b) || b[atType-1] != 0 && b[atType-1] != ' ' {
		return h, unusual("a header with a wrong checksum")
	}
	for _, at := range [...]int{atUID, atGID, atMtime, atMajor, atMinor} { // of no interest, but a binary number may be a wrong one
		if b[at] >= 0x80 {
			return h, unusual("a binary number in a header")
		}
	}
	size, err := octal(b[atSize:atMtime])
	if err != nil {
		return h, err
	}
	mode, err := octal(b[atMode:atUID])
	if err != nil {
		return h, err
	}
	if mode&0o7000 != 0 {
		return h, unusual("mode %o", mode)
	}
	h.size, h.mode = size, fs.FileMode(mode&0o777|0o666)&^0o022
	if h.name, err = name(b); err != nil {
		return h, err
	}
	target := b[atTarget:atMagic]
	switch b[atType] {
	case '0', 0:
		h.kind = file
	case '5':
		h.kind = folder
	case '1', '2':
		h.kind = link
	default:
		return h, unusual("an entry of type %q", b[atType])
	}
	if h.kind != file && size != 0 {
		return h, unusual("a folder or link with content")
	}
	if (h.kind == link) != (target[0] != 0) {
		return h, unusual("a link without a target, or a target without a link")
	}
	return h, nil
}

// name joins prefix and name. Only POSIX ustar has a prefix; what GNU tar
// keeps in its place has to be empty.
func name(b *[blockSize]byte) (string, error) {
	base, err := text(b[:atMode])
	if err != nil {
		return "", err
	}
	prefix, err := text(b[atPrefix:endBlock])
	if err != nil {
		return "", err
	}
	magic := string(b[atMagic : atMagic+8])
	switch {
	case prefix == "" && (magic == "ustar\x0000" || magic == "ustar  \x00" || magic == "\x00\x00\x00\x00\x00\x00\x00\x00"):
		return base, nil
	case magic == "ustar\x0000":
		return prefix + "/" + base, nil
	}
	return "", unusual("magic %q with prefix %.200q", magic, prefix)
}

// text reads a field that zeros end and fill.
func text(b []byte) (string, error) {
	s, rest, _ := bytes.Cut(b, []byte{0})
	if len(bytes.Trim(rest, "\x00")) > 0 || !utf8.Valid(s) {
		return "", unusual("an unclear text in a header")
	}
	return string(s), nil
}

// octal reads a number of octal digits that zeros or blanks end.
func octal(b []byte) (int64, error) {
	digits := bytes.TrimRight(b, " \x00")
	n, err := strconv.ParseUint(string(digits), 8, 48)
	if err != nil {
		return 0, unusual("the number %q in a header", b)
	}
	return int64(n), nil
}

// checksum adds up the block's bytes, its own field taken for blanks.
func checksum(b *[blockSize]byte) int64 {
	var sum int64
	for i, c := range b {
		if i >= atSum && i < atType {
			c = ' '
		}
		sum += int64(c)
	}
	return sum
}
