package correlate

import (
	"encoding/base64"
	"strconv"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Bounds of what is kept of a conversation.
const (
	maxHeaders    = 16
	maxFirstBytes = 1024
)

// networkOf returns what an alert's process said to another machine, zero if
// the alert does not tell.
func networkOf(a falco.Alert) finding.Network {
	protocol := a.Field(falco.FieldNetProtocol)
	if protocol == "" {
		return finding.Network{}
	}
	n := finding.Network{
		Protocol: cut(protocol, maxElement), Name: cut(a.Field(falco.FieldNetName), maxElement), SNI: cut(a.Field(falco.FieldNetSNI), maxElement),
		Request: cut(a.Field(falco.FieldNetRequest), maxText), TLSRefused: cut(a.Field(falco.FieldNetRefused), maxElement),
	}
	headers := a.List(falco.FieldNetHeaders)
	for _, h := range headers[:min(len(headers), maxHeaders)] {
		n.Headers = append(n.Headers, cut(h, maxElement))
	}
	text := a.Field(falco.FieldNetFirstBytes)
	b, _ := base64.StdEncoding.DecodeString(text[:min(len(text), base64.StdEncoding.EncodedLen(maxFirstBytes))]) // what can be decoded counts
	n.FirstBytes = base64.StdEncoding.EncodeToString(b[:min(len(b), maxFirstBytes)])
	n.Sent, _ = strconv.ParseInt(a.Field(falco.FieldNetSent), 10, 64)
	return n
}

// networkSize is roughly what it takes, as JSON or in memory.
func networkSize(n finding.Network) int {
	if n.Protocol == "" {
		return 0
	}
	size := 128 + len(n.Name) + len(n.SNI) + len(n.Request) + len(n.TLSRefused) + len(n.FirstBytes)
	for _, h := range n.Headers {
		size += len(h) + 16
	}
	return size
}
