package sinkhole_test

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// script is a connection whose other side says one thing, in pieces, and
// listens to nothing.
type script struct {
	r *bytes.Reader
	n int
}

func (s *script) Read(b []byte) (int, error)     { return s.r.Read(b[:min(len(b), s.n)]) }
func (*script) Write(b []byte) (int, error)      { return len(b), nil }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// FuzzConversation expects every conversation to end, to be reported once and
// within its bounds, whatever is said.
func FuzzConversation(f *testing.F) {
	for _, text := range []string{
		"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nCONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\nGET / HTTP/1.0\n\n",
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "GET http://[::1/%zz HTTP/1.1\r\n\r\n", "\x00\x1dab",
	} {
		f.Add([]byte(text), uint16(443), uint8(7))
		f.Add([]byte(text), uint16(53), uint8(255))
	}
	s, l, _ := open(f)
	f.Fuzz(func(t *testing.T, b []byte, port uint16, piece uint8) {
		s.Converse(&script{bytes.NewReader(b), int(piece) + 1}, 1, netip.AddrPortFrom(nameserver.Addr(), port))
		heard := l.kind(record.KindHeard)
		if len(heard) != 1 {
			t.Fatalf("reported %d times", len(heard))
		}
		c := heard[0].Conversation
		if len(c.Data) > record.MaxPayload || c.Head > int64(len(c.Data)) || c.Sent > 2*int64(len(b)) || strings.Contains(c.Refused, "failed") || strings.ContainsAny(c.Request+c.SNI, "\r\n\x1b") {
			t.Errorf("heard %+v", *c)
		}
		l.mu.Lock()
		l.records = nil
		l.mu.Unlock()
	})
}
