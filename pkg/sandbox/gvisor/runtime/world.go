package runtime

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	wire "gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/falconer-sec/falconer/pkg/sandbox/sinkhole"
)

// The sandbox's interface, as a container's is.
var (
	guestAddresses = []netip.Prefix{netip.MustParsePrefix("172.17.0.3/16"), netip.MustParsePrefix("fd17:625c:f037:2::3/64")}
	gateways       = []netip.Addr{netip.MustParseAddr(Nameserver), netip.MustParseAddr("fd17:625c:f037:2::1")}
)

const (
	guestInterface = "eth0"
	guestMAC       = tcpip.LinkAddress("\x02\x42\xac\x11\x00\x03")
	worldMAC       = tcpip.LinkAddress("\x02\x42\x5e\x31\x07\xc4")
	mtu            = 1500
)

// Bounds of the world.
const (
	maxConversations = 256     // connections at once; further ones are reset
	maxHandshakes    = 256     // being opened at once
	receiveWindow    = 1 << 16 // bytes in flight of one connection
	maxOpened        = 4096    // connections known by the process that opens them
)

// world is everything that is not the sandbox: a network stack of its own, at
// the other end of a cable, to which every address belongs. It has no way out.
type world struct {
	sinkhole *sinkhole.Sinkhole
	near     *wire.Endpoint // the sandbox's end of the cable
	far      *wire.Endpoint
	traffic  *traffic
	slots    chan struct{}
	nextID   atomic.Int64
	mu       sync.Mutex
	opened   map[flow]int64 // connections that a process has begun to open, by their ID
	senders  map[flow]int32 // processes whose datagram is on the cable
}

// flow names a connection, or a datagram's way, as the sandbox sees it.
type flow struct {
	from, to netip.AddrPort
}

// openWorld gives the sandbox's network stack an interface and a default route,
// at whose other end the sinkhole is.
func openWorld(guest *stack.Stack, s *sinkhole.Sinkhole, moved *traffic) error {
	w := &world{sinkhole: s, traffic: moved, slots: make(chan struct{}, maxConversations), opened: map[flow]int64{}, senders: map[flow]int32{}}
	w.near, w.far = wire.New(guestMAC, worldMAC, mtu)
	if err := w.everywhere(); err != nil {
		return fmt.Errorf("the sinkhole's network: %s", err)
	}
	nic := guest.NextNICID()
	if err := guest.CreateNICWithOptions(nic, &cable{w.near, w}, stack.NICOptions{Name: guestInterface}); err != nil {
		return fmt.Errorf("the sandbox's interface: %s", err)
	}
	for i, p := range guestAddresses {
		address := tcpip.ProtocolAddress{Protocol: protocolOf(p.Addr()), AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpipAddress(p.Addr()), PrefixLen: p.Bits()}}
		if err := guest.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("the sandbox's address: %s", err)
		}
		guest.AddRoute(tcpip.Route{Destination: address.AddressWithPrefix.Subnet(), NIC: nic})
		guest.AddRoute(tcpip.Route{Destination: everything(p.Addr()), Gateway: tcpipAddress(gateways[i]), NIC: nic})
	}
	return nil
}

// everywhere makes the stack that takes packets to every address.
func (w *world) everywhere() tcpip.Error {
	const nic = 1
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, receiveWindow, maxHandshakes, w.connection).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, w.datagram)
	if err := s.CreateNIC(nic, w.far); err != nil {
		return err
	}
	if err := s.SetPromiscuousMode(nic, true); err != nil { // takes what is for others
		return err
	}
	if err := s.SetSpoofing(nic, true); err != nil { // and answers in their name
		return err
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	return nil
}

// connection takes one connection to its end.
func (w *world) connection(r *tcp.ForwarderRequest) {
	f := flowOf(r.ID())
	id := w.take(f)
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	r.Complete(err != nil)
	if err != nil {
		return
	}
	conn := gonet.NewTCPConn(&queue, ep)
	w.sinkhole.Converse(&awaited{conn, w.traffic.watch(conn)}, id, f.to)
}

// awaited is a connection whose other side may be waiting for us.
type awaited struct {
	net.Conn
	watched io.ReadWriteCloser
}

// Read implements net.Conn.
func (a *awaited) Read(b []byte) (int, error) { return a.watched.Read(b) }

// Write implements net.Conn.
func (a *awaited) Write(b []byte) (int, error) { return a.watched.Write(b) }

// Close implements net.Conn.
func (a *awaited) Close() error { return a.watched.Close() }

// take returns the ID of a connection that was seen to open, once.
func (w *world) take(f flow) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.opened[f]
	delete(w.opened, f)
	return id
}

// flowOf is the flow of what the world received.
func flowOf(id stack.TransportEndpointID) flow {
	return flow{from: addrPort(id.RemoteAddress, id.RemotePort), to: addrPort(id.LocalAddress, id.LocalPort)}
}

// cable is the sandbox's end, where packets still tell who sends them.
type cable struct {
	*wire.Endpoint
	w *world
}

// WritePackets implements stack.LinkEndpoint.
func (c *cable) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range list.AsSlice() {
		if task, ok := pkt.Owner.(*kernel.Task); ok {
			defer c.w.note(task, pkt)()
		}
	}
	return c.Endpoint.WritePackets(list)
}

// note remembers who opens a connection or sends a datagram; the datagram's is
// forgotten by what it returns.
func (w *world) note(task *kernel.Task, pkt *stack.PacketBuffer) (forget func()) {
	forget = func() {}
	from, to := addressesOf(pkt)
	b := pkt.TransportHeader().Slice()
	switch {
	case pkt.TransportProtocolNumber == tcp.ProtocolNumber && len(b) >= header.TCPMinimumSize:
		h := header.TCP(b)
		if h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck) == header.TCPFlagSyn {
			w.open(task, flow{netip.AddrPortFrom(from, h.SourcePort()), netip.AddrPortFrom(to, h.DestinationPort())})
		}
	case pkt.TransportProtocolNumber == udp.ProtocolNumber && len(b) >= header.UDPMinimumSize:
		h := header.UDP(b)
		f := flow{netip.AddrPortFrom(from, h.SourcePort()), netip.AddrPortFrom(to, h.DestinationPort())}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.senders[f] = processOf(task)
		return func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.senders, f)
		}
	}
	return forget
}

// open notes the first packet of a connection; it may be sent again.
func (w *world) open(task *kernel.Task, f flow) {
	w.mu.Lock()
	_, again := w.opened[f]
	if again || len(w.opened) >= maxOpened {
		w.mu.Unlock()
		return
	}
	id := w.nextID.Add(1)
	w.opened[f] = id
	w.mu.Unlock()
	w.sinkhole.Opened(id, processOf(task), f.to)
}

func processOf(task *kernel.Task) int32 {
	return int32(task.Kernel().TaskSet().Root.IDOfThreadGroup(task.ThreadGroup()))
}
