package sensor

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// Limits of what is remembered of a sandbox's network.
const (
	// MaxHeld bounds the alerts that wait for what their conversation says.
	MaxHeld = 1024
	// MaxConversations bounds the connections known by who opened them.
	MaxConversations = 8192
	// MaxHosts bounds the addresses known by name.
	MaxHosts = 16384
	// MaxFirstBytes bounds the bytes of a conversation that an alert shows.
	MaxFirstBytes = 1024
)

// network joins what the sinkhole hears to the alerts that the calls behind it
// raised. Those alerts wait for it: for a datagram until the call has ended, for
// a connection until that is closed, which the sinkhole sees to within a
// minute; at the latest until the sandbox has ended.
type network struct {
	hosts  map[netip.Addr]string
	opened map[int64]*Process
	held   []held
}

// held is an alert that waits, oldest first.
type held struct {
	p     *Process
	kind  string
	num   int64
	to    netip.AddrPort
	proto string
	rule  *rules.Rule
	alert falco.Alert
}

func newNetwork() *network {
	return &network{hosts: map[netip.Addr]string{}, opened: map[int64]*Process{}}
}

// away reports whether the event is about an address that the sinkhole answers
// for, as far as one can tell from the address.
func away(e *event) (netip.AddrPort, bool) {
	to, ok := e.remote()
	if a := to.Addr(); !ok || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return to, false
	}
	return to, true
}

// put stores an alert, at once or when the conversation that it belongs to has
// been heard.
func (s *Sensor) put(ctx context.Context, e *event, m rules.Match) {
	to, ok := away(e)
	if !s.c.Sinkhole || !ok || s.over {
		s.store.put(ctx, m.Rule, e.p, e.alert(m))
		return
	}
	n := s.network
	if len(n.held) >= MaxHeld {
		s.release(ctx, n.held[:1], nil)
		n.held = n.held[1:]
	}
	n.held = append(n.held, held{p: e.p, kind: e.r.Kind, num: e.num, to: to, proto: e.r.Proto, rule: m.Rule, alert: e.alert(m)})
}

// release stores alerts, with the conversation that they belong to, if there is
// one.
func (s *Sensor) release(ctx context.Context, list []held, c *record.Conversation) {
	for _, h := range list {
		if c != nil {
			describe(h.alert.Fields, c)
		}
		s.store.put(ctx, h.rule, h.p, h.alert)
	}
}

// sinkhole takes in a record of the sinkhole's, false if r is none.
func (s *Sensor) sinkhole(ctx context.Context, r *record.Record) bool {
	to, _ := r.AddrPort()
	n := s.network
	switch r.Kind {
	case record.KindNamed:
		if len(n.hosts) < MaxHosts {
			n.hosts[to.Addr()] = r.Path
		}
	case record.KindOpened:
		if c := r.Conversation; c != nil && len(n.opened) < MaxConversations {
			if p := s.table.byPID[r.TGID]; p != nil {
				n.opened[c.ID] = p
			}
		}
	case record.KindHeard:
		if r.Conversation != nil {
			s.heard(ctx, r, to)
		}
	case record.KindUnheard:
		s.unheard(r)
	default:
		return false
	}
	return true
}

// heard gives a conversation to the alerts that wait for it: those of the
// process that held it, or of any process if that is not known.
func (s *Sensor) heard(ctx context.Context, r *record.Record, to netip.AddrPort) {
	n, c := s.network, r.Conversation
	p := s.table.byPID[r.TGID]
	if c.ID != 0 {
		p = n.opened[c.ID]
		delete(n.opened, c.ID)
	}
	if p != nil && r.Canary != "" {
		e := &event{r: r, p: p, num: s.num, c: &s.c, hosts: n.hosts}
		for _, m := range s.c.Rules.Match(e) {
			n.held = append(n.held, held{p: p, kind: r.Kind, num: s.num, to: to, proto: r.Proto, rule: m.Rule, alert: e.alert(m)})
		}
	}
	if !slices.ContainsFunc(n.held, func(h held) bool { return h.is(p, r.Proto, to) }) {
		p = nil
	}
	first := int64(-1) // of several connections to one address, the one that began first
	var ready, rest []held
	for _, h := range n.held {
		switch {
		case !h.is(p, r.Proto, to), r.Proto == "tcp" && h.kind == "connect" && first >= 0 && h.num != first:
			rest = append(rest, h)
			continue
		case h.kind == "connect":
			first = h.num
		}
		ready = append(ready, h)
	}
	n.held = rest
	s.release(ctx, ready, c)
}

// is reports whether a conversation of p's (any process's for nil) is h's.
func (h *held) is(p *Process, proto string, to netip.AddrPort) bool {
	return h.to == to && (h.proto == proto || h.proto == "") && (p == nil || h.p == p)
}

// unheard notes what the sinkhole could not keep, or why there is none.
func (s *Sensor) unheard(r *record.Record) {
	what := fmt.Sprintf("%d bytes that were sent to the network are not recorded", r.Result)
	if r.Path != "" {
		what = "the sinkhole did not open: " + r.Path
	}
	s.sum.Incomplete = append(s.sum.Incomplete, what)
}

// describe adds a conversation to an alert's fields.
func describe(fields map[string]any, c *record.Conversation) {
	said := c.Said()
	for name, value := range map[string]string{
		falco.FieldNetProtocol: c.Protocol, falco.FieldNetName: c.Name, falco.FieldNetSNI: c.SNI, falco.FieldNetRequest: c.Request,
		falco.FieldNetRefused: c.Refused, falco.FieldNetFirstBytes: base64.StdEncoding.EncodeToString(said[:min(len(said), MaxFirstBytes)]),
	} {
		if value != "" {
			fields[name] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	if len(c.Headers) > 0 {
		fields[falco.FieldNetHeaders] = c.Headers
	}
	if c.Sent > 0 {
		fields[falco.FieldNetSent] = c.Sent
	}
}

// host is the name that the other side's address was looked up by.
func (e *event) host() string {
	to, ok := e.remote()
	if !ok || e.hosts == nil {
		return ""
	}
	return e.hosts[to.Addr()]
}
