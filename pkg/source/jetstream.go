package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// StoreConfig says how a JetStream keeps archives.
type StoreConfig struct {
	Bucket   string        // object store's name; "" means "sources"
	MaxSize  int64         // bytes of one archive; 0 means Limits' default
	MaxBytes int64         // bytes of all archives; 0 means no limit of its own
	TTL      time.Duration // age at which archives are dropped; 0 means never
	Replicas int           // copies in a cluster; 0 means 1
	Guest    bool          // it is another function's store: take it as it is
	Spool    string        // directory for archives on their way in; "" means the system's
}

// Keep is how long Falconer's functions keep an archive: every one that opens
// the store has to say the same.
const Keep = 30 * 24 * time.Hour

// transferTimeout bounds moving one archive to or from the object store.
const transferTimeout = 5 * time.Minute

// JetStream is a Store on a NATS JetStream object store.
type JetStream struct {
	objects jetstream.ObjectStore
	config  StoreConfig
	now     func() time.Time
}

var _ Store = (*JetStream)(nil)

// OpenStore creates the object store if it does not exist and opens it.
func OpenStore(ctx context.Context, js jetstream.JetStream, c StoreConfig) (*JetStream, error) {
	if c.Bucket == "" {
		c.Bucket = "sources"
	}
	if c.MaxSize <= 0 {
		c.MaxSize = DefaultLimits().Archive
	}
	objects, err := stream.Objects(ctx, js, jetstream.ObjectStoreConfig{
		Bucket: c.Bucket, Description: "source archives, named by digest", TTL: c.TTL,
		MaxBytes: c.MaxBytes, Storage: jetstream.FileStorage,
	}, stream.Terms{Replicas: c.Replicas, Guest: c.Guest})
	if err != nil {
		return nil, fault.New("source: open object store", fault.Transient, err)
	}
	return &JetStream{objects: objects, config: c, now: time.Now}, nil
}

// Put implements Store. The archive is spooled to disk first, since its name
// is its digest, and a reader that fails half-way must leave nothing behind.
func (s *JetStream) Put(ctx context.Context, r io.Reader) (scan.Source, error) {
	f, err := os.CreateTemp(s.config.Spool, "falconer-source-*")
	if err != nil {
		return scan.Source{}, fault.New("source: spool", fault.Transient, err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // the open file stays usable and can't be left behind
		return scan.Source{}, fault.New("source: spool", fault.Transient, err)
	}
	sum := sha256.New()
	in := &countingReader{r: contextReader{ctx, r}, max: s.config.MaxSize}
	n, err := io.Copy(io.MultiWriter(f, sum), in)
	if err != nil {
		return scan.Source{}, fault.New("source: spool", fault.KindOf(err), err)
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	src := scan.Source{Object: objectName(digest), Digest: digest, Size: n}
	fresh, err := s.fresh(ctx, src)
	if err != nil || fresh {
		return src, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return scan.Source{}, fault.New("source: spool", fault.Transient, err)
	}
	return src, s.upload(ctx, src, f)
}

// upload copies a spooled archive into the object store.
func (s *JetStream) upload(ctx context.Context, src scan.Source, r io.Reader) error {
	// The store removes the chunks of a failed upload, for which it needs a
	// context that is not done: so only the reader hears of ctx.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), transferTimeout)
	defer cancel()
	_, err := s.objects.Put(bounded, jetstream.ObjectMeta{Name: src.Object}, contextReader{ctx, r})
	if err != nil {
		return fault.New("source: store archive", fault.Transient, err)
	}
	if _, ok, err := s.stored(bounded, src); err != nil || !ok {
		return fault.Errorf(fault.Transient, "source: the object store acknowledged an archive that it does not show: %w", err)
	}
	return nil
}

// fresh reports whether the archive is stored and will not expire soon.
func (s *JetStream) fresh(ctx context.Context, src scan.Source) (bool, error) {
	at, ok, err := s.stored(ctx, src)
	return ok && (s.config.TTL == 0 || s.now().Sub(at) < s.config.TTL/2), err
}

// stored reports whether the store holds the archive, and since when.
func (s *JetStream) stored(ctx context.Context, src scan.Source) (at time.Time, ok bool, err error) {
	info, err := s.objects.GetInfo(ctx, src.Object)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fault.New("source: look up archive", fault.Transient, err)
	}
	return info.ModTime, info.Size == uint64(src.Size), nil
}

// Get implements Store. Reading verifies the digest: an archive that was
// damaged in the store ends in an error, not in io.EOF.
func (s *JetStream) Get(ctx context.Context, object string) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	r, err := s.objects.Get(ctx, object)
	if err != nil {
		cancel()
		kind := fault.Transient
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			kind, err = fault.Permanent, fmt.Errorf("no archive %.80q: it was deleted or has expired", object)
		}
		return nil, fault.New("source: fetch archive", kind, err)
	}
	return &download{r: r, cancel: cancel}, nil
}

// Delete implements Store.
func (s *JetStream) Delete(ctx context.Context, object string) error {
	err := s.objects.Delete(ctx, object)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	return fault.New("source: delete archive", fault.Transient, err)
}

// download is an object being read, with the context that bounds it.
type download struct {
	r      io.ReadCloser
	cancel context.CancelFunc
}

// Read reads from the object.
func (d *download) Read(b []byte) (int, error) { return d.r.Read(b) }

// Close ends the transfer.
func (d *download) Close() error {
	defer d.cancel()
	return d.r.Close()
}

// objectName is the object name of a digest.
func objectName(digest string) string { return strings.Replace(digest, ":", "-", 1) }
