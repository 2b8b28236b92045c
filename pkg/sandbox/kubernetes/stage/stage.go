// Package stage prepares a scan pod's volumes before anything untrusted runs
// there: the source, a made-up home directory, the user's name.
//
// Guarantees: the archive is bounded in size and time and is what its digest
// says, or Run fails, and with it the pod; it is unpacked with the limits and
// the care of package source; what the recipe withholds is not there; the
// address that it came from is in no file.
package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sandbox/home"
	"github.com/falconer-sec/falconer/pkg/source"
)

// Where a pod's volumes are mounted, for the program stage and, but for the
// last, for the install.
const (
	WorkVolume = "/builds" // guest.Work lies here
	HomeVolume = "/home"   // guest.BuilderHome lies here
	EtcVolume  = "/falconer/etc"
)

// Timeout bounds everything that Run does.
const Timeout = 4 * time.Minute

// users are the accounts of the pod.
var users = map[string]string{
	"passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
		"build:x:65532:65532:build:" + guest.BuilderHome + ":/bin/sh\n",
	"group": "root:x:0:\nnogroup:x:65534:\nbuild:x:65532:\n",
}

// Stage prepares volumes.
type Stage struct {
	Client *http.Client
	Prefix string        // stands before the volumes' paths; "" in a pod
	Pause  time.Duration // between two tries to reach the source
	Limits source.Limits
}

// New makes a Stage for a pod.
func New() Stage {
	return Stage{Pause: 500 * time.Millisecond, Client: &http.Client{
		Transport:     &http.Transport{Proxy: nil, ResponseHeaderTimeout: 30 * time.Second, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run does a task. The error is fault.Unauthorized if the source is no longer
// given away, fault.Invalid or fault.TooLarge for an archive that can't be
// used, and fault.Transient otherwise.
func (s Stage) Run(ctx context.Context, t Task) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	set := canary.New(t.Canary)
	for name, text := range users {
		if err := os.WriteFile(filepath.Join(s.Prefix, EtcVolume, name), []byte(text), 0o644); err != nil {
			return fault.New("stage: name the user", fault.Transient, err)
		}
	}
	if err := home.Write(filepath.Join(s.Prefix, guest.BuilderHome), set); err != nil {
		return fault.New("stage: make up a home", fault.Transient, err)
	}
	body, err := s.fetch(ctx, t.Source)
	if err != nil {
		return err
	}
	defer body.Close()
	work := filepath.Join(s.Prefix, guest.Work)
	if err := s.unpack(ctx, body, work, t.Digest); err != nil {
		return err
	}
	if err := withhold(work, t); err != nil {
		return err
	}
	return fault.New("stage: plant credentials in the project", fault.Transient, home.Plant(filepath.Join(work, t.Root), set))
}

// unpack unpacks the archive while it comes in. What is unpacked of one that
// proves to be another stays unused: the pod fails.
func (s Stage) unpack(ctx context.Context, body io.Reader, work, digest string) error {
	sum := sha256.New()
	line := &watched{r: body}
	in := io.TeeReader(line, sum)
	if _, err := source.Unpack(ctx, in, work, s.Limits); err != nil {
		if line.broke != nil { // what came until then looks damaged, but is not
			return fault.New("stage: fetch the source", fault.Transient, line.broke)
		}
		return err
	}
	most := s.Limits.OrDefault().Archive
	if n, err := io.Copy(io.Discard, io.LimitReader(in, most)); err != nil || n == most {
		return fault.Errorf(fault.Transient, "stage: read the archive to its end: %d bytes more, %v", n, err)
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fault.Errorf(fault.Invalid, "stage: the archive's digest is %s, not %s", got, digest)
	}
	return nil
}

// watched remembers why reading ended early.
type watched struct {
	r     io.Reader
	broke error
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if err != nil && err != io.EOF {
		w.broke = err
	}
	return n, err
}

// withhold removes what the install must not see.
func withhold(work string, t Task) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return fault.New("stage: open the source", fault.Transient, err)
	}
	defer root.Close()
	for _, name := range t.Withhold {
		if err := root.RemoveAll(path.Join(t.Root, name)); err != nil {
			return fault.New("stage: withhold "+name, fault.Transient, err)
		}
	}
	if info, err := root.Stat(t.Root); err != nil || !info.IsDir() {
		return fault.Errorf(fault.Invalid, "stage: the archive has no directory %q", t.Root)
	}
	return nil
}
