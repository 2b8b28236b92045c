package broker

import (
	"strings"

	"github.com/falconer-sec/falconer/pkg/trigger"
)

// subjects names a broker's stream and subjects:
//
//	events.<namespace>.<broker>.type.<event type>    for every Trigger
//	events.<namespace>.<broker>.trigger.<trigger>    for one Trigger (Redeliver)
//
// An event type keeps its dots; whatever NATS would not take is escaped, since
// types come from outside.
type subjects struct{ stream, prefix string }

func subjectsOf(b trigger.Broker) subjects {
	return subjects{
		stream: "EVENTS_" + b.Namespace + "_" + b.Name,
		prefix: "events." + b.Namespace + "." + b.Name,
	}
}

func (s subjects) all() string                { return s.prefix + ".>" }
func (s subjects) types() string              { return s.prefix + ".type.>" }
func (s subjects) typed(typ string) string    { return s.prefix + ".type." + escape(typ) }
func (s subjects) trigger(name string) string { return s.prefix + ".trigger." + escape(name) }

// filter lists what a Trigger's consumer reads.
func (s subjects) filter(t *trigger.Trigger) []string {
	own := []string{s.trigger(t.Name)}
	if t.Types() == nil {
		return append(own, s.types())
	}
	for _, typ := range t.Types() {
		own = append(own, s.typed(typ))
	}
	return own
}

// escape makes a valid subject of any text, different ones of different texts.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	start := true // of a token, which must not be empty
	for i := range len(s) {
		c := s[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		dot := c == '.' && !start && i+1 < len(s) && s[i+1] != '.'
		if plain || dot {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
		start = dot
	}
	if len(s) == 0 {
		return "="
	}
	return b.String()
}
