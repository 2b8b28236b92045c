package record

import (
	"encoding/binary"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kinds of what the sinkhole reports.
const (
	// KindNamed says that Path, a host name, was answered with Addr.
	KindNamed = "sinkhole_named"
	// KindOpened says that the process TGID has opened a connection.
	KindOpened = "sinkhole_opened"
	// KindHeard is what was said in a conversation, at its end.
	KindHeard = "sinkhole_heard"
	// KindUnheard says that Result bytes were said beyond what the sinkhole keeps.
	KindUnheard = "sinkhole_unheard"
)

// MaxPayload bounds the bytes kept of what one conversation said.
const MaxPayload = 64 << 10

// maxHeaders bounds the header lines kept, and maxHeader each of them in bytes.
const (
	maxHeaders = 48
	maxHeader  = 512
)

// Conversation is what a process said to the sinkhole: a connection, or one
// datagram. Every byte of it is the process's own choice.
type Conversation struct {
	ID       int64    // of the connection; 0 for a datagram
	Protocol string   // "dns", "http", "https", "tls", "tcp", "udp"
	Name     string   // host name that the address stands for; the name asked for, of a DNS query
	SNI      string   // server name in the TLS client's hello
	Request  string   // "POST http://host/path", without control characters
	Headers  []string // header lines of the request
	Data     []byte   // what was said, at most MaxPayload bytes; the head of a request is part of it
	Head     int64    // bytes of Data that are the head of a request
	Sent     int64    // bytes said in all
	// Refused says why there was no TLS connection: the client's own words where
	// it refused the sinkhole's certificate.
	Refused string
}

// Field numbers of a conversation's wire format. They are never reused.
const (
	cID protowire.Number = iota + 1
	cProtocol
	cName
	cSNI
	cRequest
	cHeader
	cData
	cHead
	cSent
	cRefused
)

// append encodes c after b.
func (c *Conversation) append(b []byte) []byte {
	text := func(n protowire.Number, s string, limit int) {
		if s != "" {
			b = protowire.AppendTag(b, n, protowire.BytesType)
			b = protowire.AppendString(b, s[:min(len(s), limit)])
		}
	}
	num := func(n protowire.Number, v int64) {
		if v != 0 {
			b = protowire.AppendTag(b, n, protowire.VarintType)
			b = protowire.AppendVarint(b, protowire.EncodeZigZag(v))
		}
	}
	num(cID, c.ID)
	text(cProtocol, c.Protocol, MaxString)
	text(cName, c.Name, MaxString)
	text(cSNI, c.SNI, MaxString)
	text(cRequest, c.Request, MaxString)
	for _, h := range c.Headers[:min(len(c.Headers), maxHeaders)] {
		text(cHeader, h, maxHeader)
	}
	text(cData, string(c.Data[:min(len(c.Data), MaxPayload)]), MaxPayload)
	num(cHead, c.Head)
	num(cSent, c.Sent)
	text(cRefused, c.Refused, MaxString)
	return b
}

// decodeConversation reads what append wrote. Unknown fields are ignored.
func decodeConversation(b []byte) (*Conversation, error) {
	c := &Conversation{}
	err := eachField(b, func(num protowire.Number, v int64) {
		switch num {
		case cID:
			c.ID = v
		case cHead:
			c.Head = v
		case cSent:
			c.Sent = v
		}
	}, func(num protowire.Number, v []byte) error {
		text := string(v[:min(len(v), MaxString)])
		switch num {
		case cProtocol:
			c.Protocol = text
		case cName:
			c.Name = text
		case cSNI:
			c.SNI = text
		case cRequest:
			c.Request = text
		case cHeader:
			if len(c.Headers) < maxHeaders && len(v) > 0 {
				c.Headers = append(c.Headers, text[:min(len(text), maxHeader)])
			}
		case cData:
			c.Data = append([]byte(nil), v[:min(len(v), MaxPayload)]...)
		case cRefused:
			c.Refused = text
		}
		return nil
	})
	c.Head = min(max(c.Head, 0), int64(len(c.Data)))
	return c, err
}

// Said is what follows the head of a request; all of what was said if it was
// none.
func (c *Conversation) Said() []byte { return c.Data[c.Head:] }

// Sockaddr encodes an address as the struct sockaddr that AddrPort decodes.
func Sockaddr(ap netip.AddrPort) []byte {
	const inet, inet6 = 2, 10
	a := ap.Addr().Unmap()
	if a.Is4() {
		b := binary.BigEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, inet), ap.Port())
		return append(b, a.AsSlice()...)
	}
	b := binary.BigEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, inet6), ap.Port())
	b = append(b, 0, 0, 0, 0) // flow information
	return append(b, a.AsSlice()...)
}
