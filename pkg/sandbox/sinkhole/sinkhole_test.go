package sinkhole_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/sandbox/sinkhole"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// log takes what a sinkhole reports.
type log struct {
	mu      sync.Mutex
	records []record.Record
}

func (l *log) take(r *record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, *r)
}

// kind returns the records of one kind.
func (l *log) kind(kind string) (out []record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	return out
}

func open(t testing.TB) (*sinkhole.Sinkhole, *log, *sinkhole.Authority) {
	t.Helper()
	authority, err := sinkhole.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l := &log{}
	return sinkhole.New(sinkhole.Config{Authority: authority, Report: l.take, Now: time.Now}), l, authority
}

// converse holds one conversation, the client's side being f, and returns what
// was reported of it.
func converse(t *testing.T, s *sinkhole.Sinkhole, l *log, to string, f func(net.Conn)) *record.Conversation {
	t.Helper()
	before := len(l.kind(record.KindHeard))
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Converse(server, 7, netip.MustParseAddrPort(to))
	}()
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	f(client)
	_ = client.Close()
	<-ended
	heard := l.kind(record.KindHeard)
	if len(heard) != before+1 {
		t.Fatalf("%d conversations reported, want 1 more than %d", len(heard), before)
	}
	r := heard[before]
	if ap, ok := r.AddrPort(); !ok || ap.String() != to || r.Conversation.ID != 7 || r.Proto != "tcp" {
		t.Errorf("reported %v, %q, connection %d", ap, r.Proto, r.Conversation.ID)
	}
	return r.Conversation
}

// say writes text and reads to the end.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		if strings.Contains(text, "HTTP/") {
			_, _ = io.Copy(io.Discard, c)
		}
	}
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       record.Conversation
	}{
		{"a form", "POST /up?k=v HTTP/1.1\r\nHost: drop.example.com\r\nX-Token: abc\r\nContent-Length: 5\r\n\r\nhello",
			record.Conversation{Protocol: "http", Request: "POST http://drop.example.com/up?k=v", Headers: []string{"Host: drop.example.com", "X-Token: abc", "Content-Length: 5"}, Sent: 87, Data: []byte("hello")}},
		{"in chunks", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
			record.Conversation{Protocol: "http", Request: "PUT http://a/", Headers: []string{"Host: a", "Transfer-Encoding: chunked"}, Sent: 62, Data: []byte("abcdefg")}},
		{"of a proxy", "GET http://b.example.com/x HTTP/1.1\r\nHost: b.example.com\r\n\r\n",
			record.Conversation{Protocol: "http", Request: "GET http://b.example.com/x", Headers: []string{"Host: b.example.com"}, Sent: 60}},
		{"through a tunnel", "CONNECT c.example.com:443 HTTP/1.1\r\nHost: c.example.com:443\r\n\r\nGET /in HTTP/1.1\r\nHost: c.example.com\r\n\r\n",
			record.Conversation{Protocol: "http", Name: "c.example.com", Request: "GET http://c.example.com/in", Headers: []string{"Host: c.example.com"}, Sent: 104, Data: []byte("GET /in HTTP/1.1\r\nHost: c.example.com\r\n\r\n")}},
		{"something else", "\x00\x01binary", record.Conversation{Protocol: "tcp", Sent: 8, Data: []byte("\x00\x01binary")}},
		{"a lie", "GET / HTTP/9.x\r\nHost\r\n\r\nmore", record.Conversation{Protocol: "tcp", Sent: 28, Data: []byte("GET / HTTP/9.x\r\nHost\r\n\r\nmore")}},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", record.Conversation{Protocol: "tcp", Sent: 24, Data: []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}},
		{"nothing", "", record.Conversation{Protocol: "tcp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l, _ := open(t)
			got := converse(t, s, l, "203.0.113.9:80", func(c net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				_, _ = io.WriteString(c, tt.said)
			})
			if got.Protocol != tt.want.Protocol || got.Request != tt.want.Request || got.Name != tt.want.Name || got.Sent != tt.want.Sent ||
				!slices.Equal(got.Headers, tt.want.Headers) || string(got.Said()) != string(tt.want.Data) || got.Refused != "" {
				t.Errorf("got  %+v (said %q)\nwant %+v", *got, got.Said(), tt.want)
			}
		})
	}
}

// What a program does next depends on what it gets.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		request, header string
		status          int
		body            string
	}{
		{"GET /next.sh", "", 200, "\n"},
		{"GET /next", "User-Agent: curl/8.0", 200, "\n"},
		{"GET /next", "User-Agent: node", 200, "{}\n"},
		{"GET /v1/config.json", "User-Agent: curl/8.0", 200, "{}\n"},
		{"GET /releases/v1.0/tool-v1.0-linux-x64.tar.gz", "", 404, "Not Found\n"},
		{"GET /releases/tool-Linux-x86_64", "User-Agent: curl/8.0", 404, "Not Found\n"},
		{"GET /a/b/SHASUMS256.txt.asc", "", 404, "Not Found\n"},
		{"HEAD /next", "", 200, ""},
		{"POST /collect", "Content-Length: 0", 200, "{\"ok\":true}\n"},
		{"GET /latest/meta-data/iam/security-credentials/", "", 200, "build-runner"},
	} {
		t.Run(tt.request, func(t *testing.T) {
			s, l, _ := open(t)
			converse(t, s, l, "203.0.113.9:80", func(c net.Conn) {
				_, _ = fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", tt.request, strings.TrimSpace(tt.header+"\r\nX: y"))
				method, _, _ := strings.Cut(tt.request, " ")
				resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != tt.status || string(body) != tt.body || !resp.Close {
					t.Errorf("got %s %q (ends the connection: %v), want %d %q", resp.Status, body, resp.Close, tt.status, tt.body)
				}
			})
		})
	}
}

func TestTLS(t *testing.T) {
	s, l, authority := open(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority.Certificate())
	got := converse(t, s, l, "203.0.113.9:443", func(c net.Conn) {
		client := tls.Client(c, &tls.Config{ServerName: "drop.example.com", RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
		_, _ = io.WriteString(client, "POST /k HTTP/1.1\r\nHost: drop.example.com\r\nContent-Length: 3\r\n\r\nkey")
		answer, _ := io.ReadAll(client)
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
			t.Errorf("answered %q", answer)
		}
		if p := client.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
			t.Errorf("negotiated %q", p)
		}
	})
	if got.Protocol != "https" || got.SNI != "drop.example.com" || got.Request != "POST https://drop.example.com/k" || string(got.Said()) != "key" || got.Refused != "" {
		t.Errorf("heard %+v", *got)
	}
}

// A client that does not take the certificate is known by it, whether it says
// so or not.
func TestRefusedTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		client func(*tls.Conn)
		trust  bool
		want   string
	}{
		"another authority": {func(c *tls.Conn) { _ = c.Handshake() }, false, "certificate"},
		"another key":       {func(c *tls.Conn) { _ = c.Handshake(); _ = c.Close() }, true, "hung up at the sight of the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s, l, authority := open(t)
			pool := x509.NewCertPool()
			if tt.trust {
				pool.AppendCertsFromPEM(authority.Certificate())
			}
			got := converse(t, s, l, "203.0.113.9:443", func(c net.Conn) {
				tt.client(tls.Client(c, &tls.Config{ServerName: "pinned.example.com", RootCAs: pool}))
			})
			if got.Protocol != "tls" || got.SNI != "pinned.example.com" || !strings.Contains(got.Refused, tt.want) {
				t.Errorf("heard %+v", *got)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	authority, err := sinkhole.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := authority.Marshal()
	if err != nil || len(text) > sinkhole.MaxAuthority {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	again, err := sinkhole.ParseAuthority(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Certificate(), authority.Certificate()) || bytes.Contains(authority.Certificate(), []byte("PRIVATE")) {
		t.Error("not the same authority, or its certificate has more than that")
	}
	other, err := sinkhole.NewAuthority(time.Now())
	if err != nil || bytes.Equal(other.Certificate(), authority.Certificate()) {
		t.Errorf("two scans share an authority (%v)", err)
	}
	for _, bad := range []string{"", "x", string(authority.Certificate()), strings.ReplaceAll(string(text), "EC PRIVATE KEY", "PRIVATE KEY")} {
		if _, err := sinkhole.ParseAuthority([]byte(bad)); err == nil {
			t.Errorf("read an authority out of %q", bad)
		}
	}
}

// Conversations are kept up to a bound each, and up to one together; the rest
// is counted.
func TestBounds(t *testing.T) {
	s, l, _ := open(t)
	said := bytes.Repeat([]byte("x"), 1<<20)
	for range sinkhole.MaxKept/record.MaxPayload + 3 {
		got := converse(t, s, l, "203.0.113.9:9", func(c net.Conn) { _, _ = c.Write(said) })
		if len(got.Data) > record.MaxPayload || got.Sent != int64(len(said)) {
			t.Fatalf("kept %d of %d bytes", len(got.Data), got.Sent)
		}
	}
	s.End(0)
	var kept, lost int64
	for _, r := range l.kind(record.KindHeard) {
		kept += int64(len(r.Conversation.Data))
	}
	for _, r := range l.kind(record.KindUnheard) {
		lost = r.Result
	}
	if kept > sinkhole.MaxKept || lost == 0 {
		t.Errorf("kept %d bytes, %d reported as not kept", kept, lost)
	}
}

// The end of the sandbox is the end of every conversation, with what was said.
func TestEnd(t *testing.T) {
	s, l, _ := open(t)
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Converse(server, 1, netip.MustParseAddrPort("203.0.113.9:4444"))
	}()
	_, _ = io.WriteString(client, "id; whoami")
	s.End(10 * time.Millisecond)
	heard := l.kind(record.KindHeard)
	if len(heard) != 1 || string(heard[0].Conversation.Data) != "id; whoami" {
		t.Errorf("heard %+v", heard)
	}
	<-ended
	_ = client.Close()
}
