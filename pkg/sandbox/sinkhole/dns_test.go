package sinkhole_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/falconer-sec/falconer/pkg/sandbox/sinkhole"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// query encodes a DNS query.
func query(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answers decodes a DNS answer.
func answers(t testing.TB, b []byte) []dnsmessage.Resource {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if m.ID != 4711 || !m.Response || m.RCode != dnsmessage.RCodeSuccess || len(m.Questions) != 1 {
		t.Errorf("answered %+v", m)
	}
	return m.Answers
}

var nameserver = netip.MustParseAddrPort("172.17.0.1:53")

// Each name has an address of its own, by which a connection to it is named.
func TestNames(t *testing.T) {
	s, l, _ := open(t)
	given := map[[4]byte]string{}
	for _, name := range []string{"a.example.com.", "b.example.com.", "A.example.COM.", "xn--bcher-kva.example."} {
		list := answers(t, s.Datagram(3, nameserver, query(t, name, dnsmessage.TypeA)))
		if len(list) != 1 {
			t.Fatalf("%s: %d answers", name, len(list))
		}
		given[list[0].Body.(*dnsmessage.AResource).A] = name
	}
	if len(given) != 3 {
		t.Errorf("three names have the addresses %v", given)
	}
	named := l.kind(record.KindNamed)
	if len(named) != 3 || named[1].Path != "b.example.com" {
		t.Errorf("named %v", named)
	}
	to, _ := named[1].AddrPort()
	got := converse(t, s, l, netip.AddrPortFrom(to.Addr(), 4444).String(), say("hello"))
	if got.Name != "b.example.com" {
		t.Errorf("a connection to %v is one to %q", to, got.Name)
	}
	for typ, want := range map[dnsmessage.Type]int{dnsmessage.TypeAAAA: 0, dnsmessage.TypeMX: 0, dnsmessage.TypeTXT: 1, dnsmessage.TypeALL: 1} {
		if list := answers(t, s.Datagram(3, nameserver, query(t, "c.example.com.", typ))); len(list) != want {
			t.Errorf("%v: %d answers, want %d", typ, len(list), want)
		}
	}
}

// A query is a conversation, with the name as what was said.
func TestQueryIsHeard(t *testing.T) {
	s, l, _ := open(t)
	s.Datagram(9, nameserver, query(t, "c2VjcmV0.drop.example.com.", dnsmessage.TypeTXT))
	s.Datagram(9, netip.MustParseAddrPort("8.8.8.8:1234"), []byte("beacon"))
	s.Datagram(9, nameserver, []byte("no query"))
	heard := l.kind(record.KindHeard)
	if len(heard) != 3 {
		t.Fatalf("heard %d", len(heard))
	}
	if c := heard[0].Conversation; heard[0].TGID != 9 || heard[0].Proto != "udp" || c.Protocol != "dns" || c.Name != "c2vjcmv0.drop.example.com" || c.Request != "TXT c2vjcmv0.drop.example.com" {
		t.Errorf("heard %+v", *c)
	}
	if c := heard[1].Conversation; c.Protocol != "udp" || string(c.Data) != "beacon" || c.Sent != 6 {
		t.Errorf("heard %+v", *c)
	}
	if c := heard[2].Conversation; c.Protocol != "udp" {
		t.Errorf("heard %+v", *c)
	}
}

func TestQueriesOverTCP(t *testing.T) {
	s, l, _ := open(t)
	got := converse(t, s, l, "9.9.9.9:53", func(c net.Conn) {
		for i := range 3 {
			q := query(t, fmt.Sprintf("chunk%d.example.com.", i), dnsmessage.TypeA)
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
			if len(answers(t, b)) != 1 {
				t.Error("no answer")
			}
		}
	})
	if got.Protocol != "dns" || got.Request != "A chunk0.example.com" || len(got.Headers) != 2 || got.Headers[1] != "A chunk2.example.com" {
		t.Errorf("heard %+v", *got)
	}
}

// More names than are kept apart are answered all the same, and heard.
func TestManyNames(t *testing.T) {
	s, l, _ := open(t)
	for i := range sinkhole.MaxNames + 100 {
		if len(answers(t, s.Datagram(1, nameserver, query(t, fmt.Sprintf("n%d.example.com.", i), dnsmessage.TypeA)))) != 1 {
			t.Fatal("no answer")
		}
	}
	if named, heard := len(l.kind(record.KindNamed)), len(l.kind(record.KindHeard)); named != sinkhole.MaxNames || heard != sinkhole.MaxNames+100 {
		t.Errorf("named %d, heard %d", named, heard)
	}
}

func FuzzDatagram(f *testing.F) {
	f.Add(query(f, "a.example.com.", dnsmessage.TypeA))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	s, l, _ := open(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		answer := s.Datagram(1, nameserver, b)
		if answer != nil {
			var m dnsmessage.Message
			if err := m.Unpack(answer); err != nil {
				t.Fatalf("answered %x: %v", answer, err)
			}
		}
		l.mu.Lock()
		l.records = nil
		l.mu.Unlock()
	})
}
