// Package source moves a project's files: it packs a directory into an
// archive, keeps archives in an object store, and unpacks archives that
// nobody vouches for.
//
// Guarantees:
//   - Pack is deterministic: built with the same Go release, the same files
//     make the same bytes and therefore the same digest, whoever owns them and
//     whenever they were touched.
//   - What Pack leaves out on purpose (secrets, version history, installed
//     dependencies) it names, with the reason.
//   - Unpack never writes outside the directory it is given, leaves nothing
//     behind when it fails, and every link it creates ends inside.
//   - A Store acknowledges an archive only once it is durable, and names it by
//     its digest, so that storing it twice is storing it once.
package source

import (
	"context"
	"fmt"
	"io"

	"github.com/falconer-sec/falconer/pkg/scan"
)

// Limits bounds an archive. A zero field means the default.
type Limits struct {
	Archive int64 // bytes of the compressed archive; default 512 MiB
	Bytes   int64 // bytes of all files together, unpacked; default 512 MiB
	Files   int   // entries, directories and links included; default 200,000
	Path    int   // bytes of one path; default 1,024
	Name    int   // bytes of one path element; default 255
	Depth   int   // path elements; default 64
	Ratio   int64 // unpacked bytes per compressed byte, judged beyond RatioFrom; default 200
}

// RatioFrom is the unpacked size in bytes from which Limits.Ratio is judged: a
// few files of zeros are no attack.
const RatioFrom = 32 << 20

// maxNames bounds the memory that the names of one archive's entries take.
const maxNames = 64 << 20

// DefaultLimits returns the limits that zero fields stand for.
func DefaultLimits() Limits {
	return Limits{Archive: 512 << 20, Bytes: 512 << 20, Files: 200_000, Path: 1024, Name: 255, Depth: 64, Ratio: 200}
}

// OrDefault replaces zero fields by their defaults.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits()
	pick(&l.Archive, d.Archive)
	pick(&l.Bytes, d.Bytes)
	pick(&l.Files, d.Files)
	pick(&l.Path, d.Path)
	pick(&l.Name, d.Name)
	pick(&l.Depth, d.Depth)
	pick(&l.Ratio, d.Ratio)
	return l
}

func pick[T int | int64](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

// Store keeps archives under the name of their digest.
type Store interface {
	// Put stores what r holds and says where. It returns nil error only once
	// the archive is durable. The same bytes yield the same Source. Errors are
	// fault.TooLarge beyond the store's limit and fault.Transient otherwise; a
	// failed Put leaves no object behind. An error of r keeps its kind.
	Put(ctx context.Context, r io.Reader) (scan.Source, error)
	// Get opens an archive by scan.Source.Object; the caller closes it. An
	// object that does not exist is fault.Permanent.
	Get(ctx context.Context, object string) (io.ReadCloser, error)
	// Delete removes an archive; one that does not exist is no error.
	Delete(ctx context.Context, object string) error
}

// size formats a number of bytes for an error message.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// contextReader stops reading once its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads from the wrapped reader, or returns the context's error.
func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
