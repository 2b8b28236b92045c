package sinkhole

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// How long a conversation may last.
const (
	maxSilence  = 10 * time.Second // until the process says something
	maxPause    = 5 * time.Second  // until it goes on
	maxDuration = time.Minute      // in all
)

// maxHead bounds the head of a request, in bytes.
const maxHead = 32 << 10

// maxTunnels bounds connections within connections: a proxy's, TLS.
const maxTunnels = 3

// talk is a conversation that goes on.
type talk struct {
	s     *Sinkhole
	c     *record.Conversation
	to    netip.AddrPort
	until time.Time
	inner int  // connections within the connection so far
	tls   bool // the innermost is TLS
}

// Converse holds the conversation on connection id, which a process opened to
// an address, reports it when it has ended, and closes conn.
func (s *Sinkhole) Converse(conn net.Conn, id int64, to netip.AddrPort) {
	s.enter(conn)
	defer s.leave(conn)
	defer conn.Close()
	t := &talk{s: s, to: to, until: s.c.Now().Add(maxDuration), c: &record.Conversation{ID: id, Protocol: "tcp", Name: s.names.name(to.Addr())}}
	defer func() {
		if p := recover(); p != nil { // a parser's fault ends this conversation and no other
			t.c.Refused = "the sinkhole failed on this conversation"
		}
		s.heard(t.c, "tcp", 0, to)
	}()
	t.hold(&paced{Conn: conn, t: t, pause: maxSilence})
}

// paced is a connection whose every read has a deadline: a first one, and a
// shorter one after that.
type paced struct {
	net.Conn
	t     *talk
	pause time.Duration
}

// Read implements net.Conn.
func (p *paced) Read(b []byte) (int, error) {
	at := p.t.s.c.Now().Add(p.pause)
	if at.After(p.t.until) {
		at = p.t.until
	}
	if err := p.t.s.limit(p.Conn, at); err != nil {
		return 0, err
	}
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.pause = maxPause
	}
	return n, err
}

// hold finds out what is spoken on a connection and takes part in it.
func (t *talk) hold(conn net.Conn) {
	r := bufio.NewReaderSize(conn, maxHead)
	first, err := r.Peek(1)
	switch {
	case err != nil:
		if t.tls && errors.Is(err, io.EOF) {
			t.c.Refused = "hung up at the sight of the certificate"
		}
	case t.to.Port() == domain && !t.tls:
		t.domain(conn, r)
	case first[0] == tlsHandshake && t.inner < maxTunnels:
		t.secure(conn, r)
	case t.request(conn, r):
	default:
		t.listen(r)
	}
}

// listen takes what is said to its end.
func (t *talk) listen(r io.Reader) {
	_, _ = io.Copy(keeper{t}, r) // however it ends, it was heard until then
}

// keeper keeps what is written to it.
type keeper struct{ t *talk }

// Write implements io.Writer.
func (k keeper) Write(b []byte) (int, error) {
	k.t.s.keep(k.t.c, b)
	return len(b), nil
}

// domain answers DNS queries over TCP, each behind its length.
func (t *talk) domain(conn net.Conn, r *bufio.Reader) {
	for {
		size, err := r.Peek(2)
		if err != nil {
			break
		}
		n := int(binary.BigEndian.Uint16(size))
		if n > maxQuery {
			break
		}
		msg := make([]byte, 2+n)
		if _, err := io.ReadFull(r, msg); err != nil {
			break
		}
		t.s.keep(t.c, msg)
		reply := t.s.query(t.c, msg[2:])
		if reply == nil {
			break
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			break
		}
	}
	t.listen(r)
}

// request takes an HTTP request and answers it; false if it is none.
func (t *talk) request(conn net.Conn, r *bufio.Reader) bool {
	head := headOf(r)
	if head == nil {
		return false
	}
	head = bytes.Clone(head)
	_, _ = r.Discard(len(head)) // it is there
	rest := bufio.NewReader(io.MultiReader(bytes.NewReader(head), r))
	req, err := http.ReadRequest(rest)
	if err != nil {
		t.s.keep(t.c, head)
		t.listen(r)
		return true
	}
	defer req.Body.Close()
	t.s.heading(t.c, head)
	t.describe(req, head)
	if req.Method == http.MethodConnect && t.inner < maxTunnels {
		t.tunnel(conn, rest, req)
		return true
	}
	if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		_, _ = conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
	t.listen(req.Body)
	_, _ = conn.Write(answerTo(req).bytes(req, t.s.c.Now().UTC().Format(http.TimeFormat))) // the client may have gone
	return true
}

// tunnel is a proxy's part: whoever asks for one talks to us at its end too.
func (t *talk) tunnel(conn net.Conn, r *bufio.Reader, req *http.Request) {
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) // whoever did not wait has said more all the same
	if host, _, err := net.SplitHostPort(req.Host); err == nil && t.c.Name == "" {
		t.c.Name = host
	}
	t.inner++
	t.hold(&behind{Conn: conn, r: r})
}

// behind is a connection of which some was read ahead.
type behind struct {
	net.Conn
	r *bufio.Reader
}

// Read implements net.Conn.
func (b *behind) Read(p []byte) (int, error) { return b.r.Read(p) }

// headOf returns the head of a request that r is to read next, nil if what
// comes is none, or more than maxHead.
func headOf(r *bufio.Reader) []byte {
	for n := 1; ; {
		b, err := r.Peek(n)
		if !beginsRequest(b) {
			return nil
		}
		if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
			return b[:end+4]
		}
		if end := bytes.Index(b, []byte("\n\n")); end >= 0 {
			return b[:end+2]
		}
		if err != nil {
			return nil
		}
		n = max(r.Buffered(), n+1) // what is there already, then what comes next
	}
}

// maxMethod bounds a method's name.
const maxMethod = 16

// beginsRequest reports whether b can be the beginning of an HTTP/1 request.
func beginsRequest(b []byte) bool {
	for i, c := range b[:min(len(b), maxMethod)] {
		if c == ' ' {
			return i > 0 && !bytes.HasPrefix(b, []byte("PRI * HTTP/2"))
		}
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return len(b) < maxMethod
}

// describe notes what a request asks for.
func (t *talk) describe(req *http.Request, head []byte) {
	t.c.Protocol = "http"
	if t.tls {
		t.c.Protocol = "https"
	}
	url := req.URL.String()
	if req.Method == http.MethodConnect {
		url = req.Host
	} else if req.URL.Host == "" {
		url = fmt.Sprintf("%s://%s%s", t.c.Protocol, req.Host, url)
	}
	t.c.Request = printable(req.Method + " " + url)
	t.c.Headers = nil
	for line := range strings.Lines(string(head)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			t.c.Headers = appendHeader(t.c.Headers, line)
		}
	}
	t.c.Headers = t.c.Headers[min(1, len(t.c.Headers)):] // the first is the request line
}

// maxHeaders bounds the header lines noted.
const maxHeaders = 48

func appendHeader(list []string, line string) []string {
	if len(list) > maxHeaders {
		return list
	}
	return append(list, printable(line))
}

// printable replaces control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
