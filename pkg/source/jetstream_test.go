package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/scan"
)

func openStore(t testing.TB, c StoreConfig) (*JetStream, jetstream.JetStream) {
	t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c.Spool = t.TempDir()
	store, err := OpenStore(t.Context(), js, c)
	if err != nil {
		t.Fatal(err)
	}
	return store, js
}

// messages counts what the store's stream holds: chunks and descriptions.
func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "OBJ_sources")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestStoreKeepsArchives(t *testing.T) {
	s, js := openStore(t, StoreConfig{})
	body := noise(1 << 20)
	src, err := s.Put(t.Context(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if src.Size != 1<<20 || src.Digest != strings.Replace(src.Object, "-", ":", 1) {
		t.Errorf("stored as %+v", src)
	}
	before := messages(t, js)
	again, err := s.Put(t.Context(), iotest.OneByteReader(strings.NewReader(body)))
	if err != nil || again.Digest != src.Digest {
		t.Errorf("stored again as %+v, %v", again, err)
	}
	if after := messages(t, js); after != before {
		t.Errorf("storing the same archive again grew the stream from %d to %d messages", before, after)
	}
	r, err := s.Get(t.Context(), src.Object)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != body {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), src.Object); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := s.Get(t.Context(), src.Object); fault.KindOf(err) != fault.Permanent {
		t.Errorf("get after delete: %v, want permanent", err)
	}
	if again, err = s.Put(t.Context(), strings.NewReader(body)); err != nil || again.Object != src.Object {
		t.Errorf("put after delete: %+v, %v", again, err)
	}
}

func TestStoreLeavesNothingBehind(t *testing.T) {
	s, js := openStore(t, StoreConfig{MaxSize: 1 << 20})
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancel(t.Context())
	for name, test := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		kind fault.Kind
	}{
		"too large":   {t.Context(), strings.NewReader(noise(1<<20 + 1)), fault.TooLarge},
		"broken":      {t.Context(), io.MultiReader(strings.NewReader(noise(1<<19)), iotest.ErrReader(broken)), fault.Transient},
		"invalid":     {t.Context(), iotest.ErrReader(fault.New("body", fault.Invalid, broken)), fault.Invalid},
		"cancelled":   {cancelled, io.MultiReader(strings.NewReader(noise(1<<19)), cancelReader{cancel}), fault.Transient},
		"out of time": {expired(t), bytes.NewReader([]byte("x")), fault.Transient},
	} {
		if _, err := s.Put(test.ctx, test.r); err == nil || fault.KindOf(err) != test.kind {
			t.Errorf("%s: %v, want %v", name, err, test.kind)
		}
	}
	if n := messages(t, js); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
	// A transfer that breaks off while the object store reads.
	if err := s.upload(t.Context(), sourceOf("x"), io.MultiReader(strings.NewReader(noise(1<<19)), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("upload: %v", err)
	}
	if n := messages(t, js); n != 0 {
		t.Errorf("%d messages left behind by a broken upload", n)
	}
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	t.Cleanup(cancel)
	return ctx
}

// cancelReader cancels a context when it is read.
type cancelReader struct{ cancel func() }

func (c cancelReader) Read([]byte) (int, error) {
	c.cancel()
	return 1, nil
}

func TestStoreRefreshesWhatExpires(t *testing.T) {
	s, js := openStore(t, StoreConfig{TTL: time.Hour})
	src, err := s.Put(t.Context(), strings.NewReader("archive"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := js.Stream(t.Context(), "OBJ_sources")
	if err != nil {
		t.Fatal(err)
	}
	last := before.CachedInfo().State.LastSeq
	s.now = func() time.Time { return time.Now().Add(40 * time.Minute) }
	if _, err := s.Put(t.Context(), strings.NewReader("archive")); err != nil {
		t.Fatal(err)
	}
	after, err := js.Stream(t.Context(), "OBJ_sources")
	if err != nil {
		t.Fatal(err)
	}
	if after.CachedInfo().State.LastSeq == last {
		t.Errorf("%s is about to expire and was not stored afresh", src.Object)
	}
}

func TestStoreIsGone(t *testing.T) {
	s, js := openStore(t, StoreConfig{})
	if err := js.DeleteObjectStore(t.Context(), "sources"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Put(ctx, strings.NewReader("x")); !fault.Retryable(err) {
		t.Errorf("Put without a store = %v, want a transient error", err)
	}
}

func BenchmarkStorePut(b *testing.B) {
	s, _ := openStore(b, StoreConfig{})
	body := []byte(noise(64 << 20))
	b.SetBytes(int64(len(body)))
	for i := 0; b.Loop(); i++ {
		body[0], body[1] = byte(i), byte(i>>8)
		if _, err := s.Put(b.Context(), bytes.NewReader(body)); err != nil {
			b.Fatal(err)
		}
	}
}

func sourceOf(object string) scan.Source { return scan.Source{Object: object} }
