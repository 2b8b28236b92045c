package falco

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// Digest returns the alert's content identity: 32 hexadecimal digits.
//
// It covers what makes two alerts the same alert: host, event number (where
// the rule lists it), time, rule and output. It does not cover what changes
// from one sending to the next: Falcosidekick's uuid, the CloudEvent's ID, the
// order of keys and tags, trailing zeros of the time, truncated fields. So
// Falco's own line, Falcosidekick's rewrite of it, and a resend all digest
// alike. An alert without output (json_include_output_property: false) is
// known by its fields instead.
func (a Alert) Digest() string {
	var buf [1024]byte
	b := buf[:0]
	part := func(s string) {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, ':')
		b = append(b, s...)
	}
	part(a.Hostname)
	part(a.Field("evt.num"))
	part(strconv.FormatInt(a.Time.UnixNano(), 10))
	part(a.Rule)
	part(a.Output)
	if a.Output == "" {
		if fields, err := json.Marshal(a.Fields); err == nil { // keys sorted
			part(string(fields))
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
