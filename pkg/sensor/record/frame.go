package record

import (
	"encoding/binary"
	"fmt"
)

// Version is the version of the framing, exchanged before the first frame.
const Version = 1

// Hello is what either side sends first on a connection.
var Hello = []byte{'F', 'L', 'C', 'N', Version}

// headerSize is the size of a frame's header: the running count of records
// that could not be delivered, little-endian.
const headerSize = 4

// MaxFrame is larger than any frame AppendFrame makes, and smaller than what a
// Unix socket takes in one packet by default (net.core.wmem_default).
const MaxFrame = 192 << 10

// AppendFrame encodes a frame: dropped is the number of records that were lost
// before this one since the connection began.
func AppendFrame(b []byte, dropped uint32, r *Record) []byte {
	b = binary.LittleEndian.AppendUint32(b, dropped)
	return r.Append(b)
}

// DecodeFrame reads a frame.
func DecodeFrame(b []byte) (dropped uint32, r Record, err error) {
	if len(b) < headerSize {
		return 0, Record{}, fmt.Errorf("%w: frame of %d bytes", ErrMalformed, len(b))
	}
	r, err = Decode(b[headerSize:])
	return binary.LittleEndian.Uint32(b), r, err
}

// AppendRaw is AppendFrame for a record that is encoded already.
func AppendRaw(dropped uint32, encoded []byte) []byte {
	b := make([]byte, 0, headerSize+len(encoded))
	b = binary.LittleEndian.AppendUint32(b, dropped)
	return append(b, encoded...)
}
