// Package leak recognises canaries in what a sandboxed process does: it marks
// the records in which one leaves. The sandbox's kernel uses it where it sees
// every byte, the sensor for what the records hold.
//
// Guarantees: a value that is spread over writes to one descriptor is found;
// what is remembered of descriptors is bounded (MaxStreams), and beyond that
// only values spread over writes are missed. A Watch is safe for concurrent
// use.
package leak

import (
	"strings"
	"sync"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Where a canary was found, as a record's CanaryWhere.
const (
	Connection  = "connection"
	Name        = "name" // asked of a name server
	File        = "file"
	Pipe        = "pipe" // spliced from a file
	Path        = "path" // of a file
	Argument    = "argument"
	Environment = "environment"
)

// MaxStreams bounds the descriptors remembered.
const MaxStreams = 4096

// maxPacked is the size, in bytes, of a piece of data that is looked into for
// compressed streams.
const maxPacked = 64 << 10

// Watch looks for one set of canaries.
type Watch struct {
	set     *canary.Set
	matcher canary.Matcher
	mu      sync.Mutex
	streams map[stream]canary.Stream
}

// stream is a process's descriptor; -1 stands for the names it asks for.
type stream struct {
	process int32
	fd      int64
}

// New makes a Watch. It builds the set's matcher, which takes a moment.
func New(set *canary.Set) *Watch {
	return &Watch{set: set, matcher: set.Matcher(), streams: map[stream]canary.Stream{}}
}

// Sent searches a piece of what the record's process writes to its descriptor,
// and marks the record if there is a canary in it. Pieces of one write follow
// each other.
func (w *Watch) Sent(r *record.Record, where string, data []byte) {
	w.scan(r, where, stream{r.TGID, r.FD}, data)
	if where == Connection && r.Canary == "" {
		mark(r, where, w.matcher.Inflated(data[:min(len(data), maxPacked)]))
	}
}

func (w *Watch) scan(r *record.Record, where string, key stream, data []byte) {
	w.mu.Lock()
	st := w.streams[key]
	w.mu.Unlock()
	before := st
	mark(r, where, w.matcher.Scan(&st, data))
	if st == before {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if st == (canary.Stream{}) {
		delete(w.streams, key)
		return
	}
	if len(w.streams) >= MaxStreams {
		clear(w.streams)
	}
	w.streams[key] = st
}

// Asked searches a DNS query. Its labels are read as one text, and so are the
// first labels of one process's queries.
func (w *Watch) Asked(r *record.Record, query []byte) {
	labels := labels(query)
	if len(labels) == 0 {
		return
	}
	mark(r, Name, w.matcher.Scan(new(canary.Stream), []byte(strings.Join(labels, "."))))
	w.scan(r, Name, stream{r.TGID, -1}, []byte(labels[0]))
}

// Executed searches the arguments and the environment of a program that is
// executed. Variables that a process has without stealing do not count.
func (w *Watch) Executed(r *record.Record, argv, env []string) {
	for _, a := range argv {
		mark(r, Argument, w.matcher.Scan(new(canary.Stream), []byte(a)))
	}
	for _, e := range env {
		if !w.set.Inherited(e) {
			mark(r, Environment, w.matcher.Scan(new(canary.Stream), []byte(e)))
		}
	}
}

// Paths searches the paths of a record.
func (w *Watch) Paths(r *record.Record) {
	for _, p := range []string{r.Path, r.Target} {
		if p != "" {
			mark(r, Path, w.matcher.Scan(new(canary.Stream), []byte(p)))
		}
	}
}

// Heard searches what a process said to the sandbox's sinkhole: what was
// encrypted on its way there is in clear.
func (w *Watch) Heard(r *record.Record, c *record.Conversation) {
	where := Connection
	if c.Protocol == "dns" {
		where = Name
	}
	for _, text := range append([]string{c.Name, c.SNI, c.Request}, c.Headers...) {
		mark(r, where, w.matcher.Scan(new(canary.Stream), []byte(text)))
	}
	mark(r, where, w.set.Find(c.Data))
}

// Mark searches what a record itself holds, for a kernel that could not.
func (w *Watch) Mark(r *record.Record) {
	switch {
	case r.Canary != "":
	case r.Kind == record.KindExec:
		w.Executed(r, r.Argv, r.Env)
	case len(r.Data) > 0 && IsQuery(r):
		w.Asked(r, r.Data)
	case len(r.Data) > 0:
		w.Sent(r, Connection, r.Data)
	default:
		w.Paths(r)
	}
}

// IsQuery reports whether a record is of a datagram to a name server.
func IsQuery(r *record.Record) bool {
	const domain = 53
	ap, ok := r.AddrPort()
	return ok && r.Proto == "udp" && ap.Port() == domain
}

// mark adds hits to a record. The first says how and where.
func mark(r *record.Record, where string, hits []canary.Hit) {
	for _, h := range hits {
		if r.Canary == "" {
			r.Canary, r.CanaryForm, r.CanaryWhere = h.Name, h.Form, where
		} else if !listed(r.Canary, h.Name) && len(r.Canary) < record.MaxString/2 {
			r.Canary += ", " + h.Name
		}
	}
}

func listed(list, name string) bool {
	for have := range strings.SplitSeq(list, ", ") {
		if have == name {
			return true
		}
	}
	return false
}

// labels are those of the first name that a DNS message asks for (RFC 1035,
// section 4.1), as far as the message goes.
func labels(b []byte) []string {
	const header = 12
	var out []string
	for b = b[min(header, len(b)):]; len(b) > 0 && b[0] > 0 && b[0] < 64; {
		n := min(int(b[0]), len(b)-1)
		out = append(out, string(b[1:1+n]))
		b = b[1+n:]
	}
	return out
}
