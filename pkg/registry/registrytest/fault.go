package registrytest

import (
	"net/http"
	"strconv"
	"time"
)

// Fault is how a registry misbehaves for one package. The zero value behaves.
type Fault struct {
	Times      int           // how many requests it concerns; 0 is all
	Documents  bool          // also concerns package documents, not only archives
	Status     int           // answer this status instead
	RetryAfter int           // seconds, with Status; 0 sends no header
	Redirect   string        // answer 302 to this address
	Delay      time.Duration // before answering
	Truncate   bool          // break the connection half-way through the archive
	Corrupt    bool          // change a byte of the archive
	Size       int64         // pad the archive to this many bytes
}

// Break makes requests for name fail as f says, until f.Times are used up.
func (r *Registry) Break(name string, f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name] = &f
}

// fault takes one use of the fault set for name.
func (r *Registry) fault(name string, archive bool) (Fault, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.faults[name]
	if !ok || !archive && !f.Documents {
		return Fault{}, false
	}
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(r.faults, name)
		}
	}
	return *f, true
}

// refuse waits, and answers in place of the registry if f says so.
func (f Fault) refuse(w http.ResponseWriter, req *http.Request) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-req.Context().Done():
			return true
		}
	}
	switch {
	case f.Redirect != "":
		http.Redirect(w, req, f.Redirect, http.StatusFound)
	case f.Status != 0:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		http.Error(w, `{"error":"as the test ordered"}`, f.Status)
	default:
		return false
	}
	return true
}

// send writes an archive, damaged as f says.
func (f Fault) send(w http.ResponseWriter, req *http.Request, archive []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if f.Corrupt {
		archive = append([]byte(nil), archive...)
		archive[len(archive)/2] ^= 0xff
	}
	size := max(int64(len(archive)), f.Size)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if req.Method == http.MethodHead {
		return
	}
	if f.Truncate {
		_, _ = w.Write(archive[:len(archive)/2])
		_ = http.NewResponseController(w).Flush() // else the client sees no answer at all and asks again
		panic(http.ErrAbortHandler)               // breaks the connection
	}
	_, _ = w.Write(archive) // the client may hang up
	zeros := make([]byte, 64<<10)
	for left := size - int64(len(archive)); left > 0; {
		n, err := w.Write(zeros[:min(left, int64(len(zeros)))])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}
