package runtime

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// hopLimit is that of the world's answers.
const hopLimit = 57

// datagram takes one UDP datagram, inside the call that sent it, and puts the
// answer on the cable.
func (w *world) datagram(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	f := flowOf(id)
	if !f.to.IsValid() || f.to.Addr().IsMulticast() {
		return true
	}
	w.mu.Lock()
	process := w.senders[f]
	w.mu.Unlock()
	if answer := w.sinkhole.Datagram(process, f.to, pkt.Data().AsRange().ToSlice()); answer != nil {
		w.send(f, answer)
	}
	return true
}

// send puts a datagram on the cable, the other way than f.
func (w *world) send(f flow, payload []byte) {
	src, dst := tcpipAddress(f.to.Addr()), tcpipAddress(f.from.Addr())
	size := header.UDPMinimumSize + len(payload)
	segment := make([]byte, size)
	copy(segment[header.UDPMinimumSize:], payload)
	h := header.UDP(segment)
	h.Encode(&header.UDPFields{SrcPort: f.to.Port(), DstPort: f.from.Port(), Length: uint16(size)})
	sum := header.PseudoHeaderChecksum(udp.ProtocolNumber, src, dst, uint16(size))
	h.SetChecksum(^h.CalculateChecksum(checksum.Checksum(payload, sum)))

	var packet []byte
	protocol := protocolOf(f.from.Addr())
	if protocol == ipv4.ProtocolNumber {
		packet = make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+size)
		ip := header.IPv4(packet)
		ip.Encode(&header.IPv4Fields{TotalLength: uint16(cap(packet)), TTL: hopLimit, Protocol: uint8(udp.ProtocolNumber), SrcAddr: src, DstAddr: dst})
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		packet = make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+size)
		header.IPv6(packet).Encode(&header.IPv6Fields{PayloadLength: uint16(size), TransportProtocol: udp.ProtocolNumber, HopLimit: hopLimit, SrcAddr: src, DstAddr: dst})
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(append(packet, segment...))})
	defer pkt.DecRef()
	pkt.NetworkProtocolNumber = protocol
	var list stack.PacketBufferList
	list.PushBack(pkt)
	_, _ = w.far.WritePackets(list) // a pipe takes all
}

// addressesOf returns the addresses of an outgoing packet.
func addressesOf(pkt *stack.PacketBuffer) (from, to netip.Addr) {
	b := pkt.NetworkHeader().Slice()
	switch {
	case pkt.NetworkProtocolNumber == ipv4.ProtocolNumber && len(b) >= header.IPv4MinimumSize:
		h := header.IPv4(b)
		return netipAddress(h.SourceAddress()), netipAddress(h.DestinationAddress())
	case pkt.NetworkProtocolNumber == ipv6.ProtocolNumber && len(b) >= header.IPv6MinimumSize:
		h := header.IPv6(b)
		return netipAddress(h.SourceAddress()), netipAddress(h.DestinationAddress())
	}
	return from, to
}

func netipAddress(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netipAddress(a), port)
}

func tcpipAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// everything is the subnet of all addresses of a's kind.
func everything(a netip.Addr) tcpip.Subnet {
	if a.Is4() {
		return header.IPv4EmptySubnet
	}
	return header.IPv6EmptySubnet
}
