package sinkhole

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// MaxNames bounds the names that get an address of their own. Further ones
// share one, so connections to them are seen without a name; the questions for
// them are reported all the same.
const MaxNames = 8192

// addressesFrom is the first address given out: in 198.18.0.0/15, which is set
// aside for tests (RFC 2544) and which no program takes for a private network.
var addressesFrom = netip.AddrFrom4([4]byte{198, 18, 4, 11})

// surplus is the address of names beyond MaxNames.
var surplus = netip.AddrFrom4([4]byte{198, 19, 255, 250})

// names gives each host name an address.
type names struct {
	mu     sync.Mutex
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
}

func newNames() *names {
	return &names{byName: map[string]netip.Addr{}, byAddr: map[netip.Addr]string{}}
}

// address returns the name's address, and whether it was given just now.
func (n *names) address(name string) (addr netip.Addr, fresh bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.byName[name]; ok {
		return a, false
	}
	if len(n.byName) >= MaxNames {
		return surplus, false
	}
	base := addressesFrom.As4()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(base[:])+uint32(len(n.byName)))
	addr = netip.AddrFrom4(b)
	n.byName[name], n.byAddr[addr] = addr, name
	return addr, true
}

// name returns the name that an address was given to, "" for others.
func (n *names) name(addr netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byAddr[addr.Unmap()]
}
