package sinkhole

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
)

// tlsHandshake is the first byte of a TLS client's hello (RFC 8446, section 5.1).
const tlsHandshake = 0x16

// secure takes a TLS connection with a certificate of the scan's authority, and
// goes on with what is said inside.
func (t *talk) secure(conn net.Conn, r *bufio.Reader) {
	t.c.Protocol = "tls"
	counted := &counted{Conn: &behind{Conn: conn, r: r}}
	server := tls.Server(counted, &tls.Config{GetConfigForClient: t.hello})
	ctx, cancel := context.WithTimeout(context.Background(), maxSilence)
	defer cancel()
	if err := server.HandshakeContext(ctx); err != nil {
		t.c.Sent += counted.read
		t.c.Refused = refusal(err)
		return
	}
	t.inner++
	t.tls = true
	t.hold(server)
}

// hello notes whom the client wants to talk to and poses as that one.
func (t *talk) hello(h *tls.ClientHelloInfo) (*tls.Config, error) {
	t.c.SNI = printable(h.ServerName)
	host := h.ServerName
	if host == "" {
		host = t.c.Name
	}
	if host == "" {
		host = t.to.Addr().String()
	}
	leaf, err := t.s.c.Authority.leaf(host)
	if err != nil {
		if leaf, err = t.s.c.Authority.leaf(""); err != nil {
			return nil, err
		}
	}
	c := &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS10, SessionTicketsDisabled: true, Time: t.s.c.Now}
	if slices.Contains(h.SupportedProtos, "http/1.1") { // nobody is told what we don't speak, or the client would go
		c.NextProtos = []string{"http/1.1"}
	}
	return c, nil
}

// refusal says why there is no TLS connection: what the client said, if it did.
func refusal(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return strings.TrimPrefix(printable(op.Err.Error()), "tls: ")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "hung up at the sight of the certificate"
	}
	return "no TLS connection: " + strings.TrimPrefix(printable(err.Error()), "tls: ")
}

// counted counts the bytes read of a connection.
type counted struct {
	net.Conn
	read int64
}

// Read implements net.Conn.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += int64(n)
	return n, err
}
