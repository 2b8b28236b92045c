// Package sinkhole plays the rest of the world to a sandbox without a network:
// it answers every name, takes every connection and datagram, and reports what
// was said, so that what would have left is evidence.
//
// Guarantees: it opens no connection, no file and no socket, and nothing that
// it is told reaches anything but Config.Report. It keeps the first bytes of
// each conversation (record.MaxPayload) and MaxKept of all together, answers
// MaxNames names apart, and counts the rest. Bytes from the sandbox are
// hostile: parsing never panics beyond a conversation's own end, never takes
// more memory than its bounds, and every wait has an end. It runs in the
// sandbox's kernel process, without privileges and behind seccomp filters.
package sinkhole

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// MaxKept bounds the bytes kept of all conversations of a scan.
const MaxKept = 16 << 20

// Config is what a Sinkhole needs. All fields are required.
type Config struct {
	Authority *Authority
	// Report takes what was seen. It is called from several goroutines at once,
	// and may block.
	Report func(*record.Record)
	Now    func() time.Time
}

// Sinkhole answers one sandbox. It is safe for concurrent use.
type Sinkhole struct {
	c     Config
	names *names
	kept  atomic.Int64 // bytes kept of all conversations
	lost  atomic.Int64 // bytes that were not, for want of room
	mu    sync.Mutex
	open  map[net.Conn]struct{}
	end   time.Time // when every conversation ends, zero for not yet
	idle  sync.Cond // signals that open is empty
}

// New makes a sinkhole.
func New(c Config) *Sinkhole {
	s := &Sinkhole{c: c, names: newNames(), open: map[net.Conn]struct{}{}}
	s.idle.L = &s.mu
	return s
}

// End ends the conversations that are open, after they had grace to hear what
// is on its way, and reports what was lost. It returns when all are reported.
func (s *Sinkhole) End(grace time.Duration) {
	s.mu.Lock()
	s.end = s.c.Now().Add(grace)
	for conn := range s.open {
		_ = conn.SetDeadline(s.end) // one that can't has ended
	}
	for len(s.open) > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	if n := s.lost.Load(); n > 0 {
		s.report(&record.Record{Kind: record.KindUnheard, HasResult: true, Result: n})
	}
}

// enter counts a conversation among the open ones.
func (s *Sinkhole) enter(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[conn] = struct{}{}
}

func (s *Sinkhole) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	if len(s.open) == 0 {
		s.idle.Broadcast()
	}
}

// limit sets a deadline, or the end of all conversations where that is sooner.
func (s *Sinkhole) limit(conn net.Conn, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.end.IsZero() && at.After(s.end) {
		at = s.end
	}
	return conn.SetDeadline(at)
}

// Opened reports that a process has opened connection id.
func (s *Sinkhole) Opened(id int64, tgid int32, to netip.AddrPort) {
	s.report(&record.Record{Kind: record.KindOpened, TGID: tgid, Proto: "tcp", Addr: record.Sockaddr(to), Conversation: &record.Conversation{ID: id}})
}

// heard reports a conversation.
func (s *Sinkhole) heard(c *record.Conversation, proto string, tgid int32, to netip.AddrPort) {
	s.report(&record.Record{Kind: record.KindHeard, TGID: tgid, Proto: proto, Addr: record.Sockaddr(to), Conversation: c})
}

func (s *Sinkhole) report(r *record.Record) {
	r.TimeNS = s.c.Now().UnixNano()
	s.c.Report(r)
}

// keep appends to what was said in a conversation, within all bounds.
func (s *Sinkhole) keep(c *record.Conversation, b []byte) {
	c.Sent += int64(len(b))
	b = b[:min(len(b), record.MaxPayload-len(c.Data))]
	if n := int64(len(b)); s.kept.Add(n) > MaxKept {
		s.kept.Add(-n)
		s.lost.Add(n)
		return
	}
	c.Data = append(c.Data, b...)
}

// heading keeps the head of a request, where it is the first that was said.
func (s *Sinkhole) heading(c *record.Conversation, head []byte) {
	first := len(c.Data) == 0
	s.keep(c, head)
	if first {
		c.Head = int64(len(c.Data))
	}
}
