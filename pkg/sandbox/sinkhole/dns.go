package sinkhole

import (
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// maxQuery bounds a DNS message that is looked at, in bytes.
const maxQuery = 4096

// ttl is how long answers may be kept, in seconds.
const ttl = 300

// query answers one DNS message and notes what it asked; nil for what is none.
func (s *Sinkhole) query(c *record.Conversation, msg []byte) []byte {
	if len(msg) > maxQuery {
		return nil
	}
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := printable(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
	asked := strings.TrimPrefix(q.Type.String(), "Type") + " " + name
	if c.Protocol != "dns" {
		c.Protocol, c.Name, c.Request = "dns", name, asked
	} else {
		c.Headers = appendHeader(c.Headers, asked)
	}
	answer, err := s.answerQuery(h, q, name)
	if err != nil {
		return nil
	}
	return answer
}

// answerQuery answers with the name's address. There are no IPv6 addresses: a
// name has one address, so that a connection to it is known by it.
func (s *Sinkhole) answerQuery(h dnsmessage.Header, q dnsmessage.Question, name string) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}
	switch q.Type {
	case dnsmessage.TypeA, dnsmessage.TypeALL:
		addr, fresh := s.names.address(name)
		if fresh {
			s.report(&record.Record{Kind: record.KindNamed, Path: name, Addr: record.Sockaddr(addrPort(addr, 0))})
		}
		if err := b.AResource(header, dnsmessage.AResource{A: addr.As4()}); err != nil {
			return nil, err
		}
	case dnsmessage.TypeTXT:
		if err := b.TXTResource(header, dnsmessage.TXTResource{TXT: []string{"v=spf1 -all"}}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
