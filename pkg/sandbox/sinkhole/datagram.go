package sinkhole

import (
	"net/netip"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// domain is the port of DNS.
const domain = 53

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// Datagram takes a UDP datagram that a process sent, reports it, and returns
// the answer to a DNS query, nil for anything else. It does not keep payload.
func (s *Sinkhole) Datagram(tgid int32, to netip.AddrPort, payload []byte) []byte {
	c := &record.Conversation{Protocol: "udp", Name: s.names.name(to.Addr())}
	var answer []byte
	if to.Port() == domain {
		answer = s.query(c, payload)
	}
	s.keep(c, payload)
	s.heard(c, "udp", tgid, to)
	return answer
}
