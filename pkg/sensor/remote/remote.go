// Package remote is the receiving end of the trace sessions that gVisor's pods
// open: the peer of gVisor's own "remote" sink, and of Falconer's where
// Falconer is the runtime. What comes in is turned into the records that the
// sensor judges.
//
// Guarantees: the sender is taken for hostile. A message is read into a buffer
// of a fixed size and decoded without recursion; what can't be decoded ends the
// session with an error, and nothing panics. A message of a type that carries
// nothing for a rule is passed over, and counted.
//
// What stock gVisor can't report is listed by Unwatched. It also loses, without
// counting it, any event that holds a text which is not UTF-8.
package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// MaxMessage bounds one message, in bytes. It is larger than what a socket with
// the kernel's default buffer (net.core.wmem_default) takes in one packet.
const MaxMessage = 256 << 10

// version is the protocol's, in gVisor's handshake.
const version = 1

// Message is one record and the container that it comes from.
type Message struct {
	Container string // ID, as in the pod's status
	Record    record.Record
}

// Session is one sandbox's connection. It is not safe for concurrent use, but
// for Dropped and Ours.
type Session struct {
	conn    *net.UnixConn
	ours    bool
	buf     []byte
	dropped atomic.Uint32
	passed  int64
}

// Accept answers the handshake of a sandbox's kernel, gVisor's or ours, which
// has to come within timeout. The caller closes the connection.
func Accept(conn *net.UnixConn, timeout time.Duration) (*Session, error) {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	s := &Session{conn: conn, buf: make([]byte, MaxMessage)}
	n, err := conn.Read(s.buf)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	answer := record.Hello
	if s.ours = bytes.Equal(s.buf[:n], record.Hello); !s.ours {
		if err := checkHandshake(s.buf[:n]); err != nil {
			return nil, err
		}
		answer = protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), version)
	}
	if _, err := conn.Write(answer); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return s, conn.SetDeadline(time.Time{})
}

// checkHandshake reads gVisor's Handshake{version = 1}.
func checkHandshake(b []byte) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("handshake: %w", protowire.ParseError(n))
		}
		if num == 1 && typ == protowire.VarintType {
			if v, m := protowire.ConsumeVarint(b[n:]); m < 0 || v < version {
				return fmt.Errorf("handshake: version %d is not supported", v)
			}
			return nil
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return fmt.Errorf("handshake: %w", protowire.ParseError(m))
		}
		b = b[n+m:]
	}
	return errors.New("handshake: no version")
}

// Next returns the next message that carries a record; io.EOF once the sandbox
// has hung up. After any error the session is over.
func (s *Session) Next() (Message, error) {
	for {
		n, err := s.conn.Read(s.buf)
		switch {
		case n == 0 && (err == nil || errors.Is(err, io.EOF)):
			return Message{}, io.EOF // a packet socket reads nothing at its end
		case err != nil:
			return Message{}, fmt.Errorf("the connection to the sandbox's kernel broke: %w", err)
		case n == len(s.buf):
			return Message{}, fmt.Errorf("the sandbox's kernel sent a message of more than %d bytes", MaxMessage-1)
		}
		dropped, m, ok, err := s.decode(s.buf[:n])
		if err != nil {
			return Message{}, fmt.Errorf("the sandbox's kernel sent a message that can't be read: %w", err)
		}
		if dropped > s.dropped.Load() {
			s.dropped.Store(dropped)
		}
		if ok {
			return m, nil
		}
		s.passed++
	}
}

func (s *Session) decode(b []byte) (dropped uint32, m Message, ok bool, err error) {
	if !s.ours {
		return Decode(b)
	}
	dropped, r, err := record.DecodeFrame(b)
	return dropped, Message{Container: r.Container, Record: r}, err == nil, err
}

// Dropped is how many events the kernel could not deliver so far.
func (s *Session) Dropped() int64 { return int64(s.dropped.Load()) }

// Passed is how many messages carried nothing for a rule.
func (s *Session) Passed() int64 { return s.passed }

// Ours says that the kernel is Falconer's own, with every point of ours.
func (s *Session) Ours() bool { return s.ours }
