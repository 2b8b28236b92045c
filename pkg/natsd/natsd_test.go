package natsd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/natsd"
)

func start(t *testing.T, c natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStateSurvives stores a message, restarts the server on the directory and
// finds it, with and without a flush before each acknowledgement.
func TestStateSurvives(t *testing.T) {
	for _, always := range []bool{false, true} {
		c := natsd.Config{Dir: filepath.Join(t.TempDir(), "data"), SyncAlways: always}
		s := start(t, c)
		stream(t, s, func(js jetstream.JetStream) {
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
				t.Fatal(err)
			}
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = start(t, c)
		stream(t, s, func(js jetstream.JetStream) {
			st, err := js.Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			if m, err := st.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
				t.Errorf("got %v, %v", m, err)
			}
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func stream(t *testing.T, s *natsd.Server, f func(jetstream.JetStream)) {
	t.Helper()
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	f(js)
}

// TestOneOwner refuses a second server on a directory until the first has
// given it up, and keeps the directory from other users.
func TestOneOwner(t *testing.T) {
	c := natsd.Config{Dir: filepath.Join(t.TempDir(), "data")}
	s := start(t, c)
	if _, err := natsd.Start(c); !errors.Is(err, natsd.ErrInUse) || !strings.Contains(err.Error(), c.Dir) {
		t.Errorf("second owner: %v", err)
	}
	if info, err := os.Stat(c.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, c).Close(); err != nil {
		t.Fatal(err)
	}
}
