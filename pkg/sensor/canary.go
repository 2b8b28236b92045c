package sensor

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/canary/leak"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// canaryRead is a record's CanaryWhere for a canary that is read where it lies.
const canaryRead = "read"

// bait is the scan's canaries, as far as the sensor knows them.
type bait struct {
	set   *canary.Set // nil where only the sandbox's kernel knows it
	watch func() *leak.Watch
}

// Bait tells the sensor the sandbox's canaries: it finds them in what records
// hold, where the kernel could not look, and keeps them out of alerts. It is
// called before Serve or Open.
func (s *Sensor) Bait(set *canary.Set) {
	s.bait.set, s.bait.watch = set, sync.OnceValue(func() *leak.Watch { return leak.New(set) })
	s.store.bait = s.bait
	go s.bait.watch() // the first record waits for the rest of it
}

// mark completes what a record says of canaries.
func (s *Sensor) mark(r *record.Record) {
	at := func(p string) (string, bool) {
		home := s.c.Setting.Home
		if home == "" { // a pod's
			home = guest.BuilderHome
		}
		return canary.At(home, s.c.Setting.Work, unrooted(p))
	}
	switch {
	case r.CanaryWhere == leak.File:
		if name, ok := at(r.FDPath); ok && name == r.Canary { // written where it was
			r.Canary, r.CanaryWhere, r.CanaryForm = "", "", ""
		}
	case r.Canary != "":
	case isOpen(r) && r.Flags&unix.O_ACCMODE != unix.O_WRONLY && r.HasResult && r.Result >= 0:
		if name, ok := at(r.Path); ok {
			r.Canary, r.CanaryWhere = name, canaryRead
		}
	}
	switch {
	case s.bait.set == nil:
	case r.Conversation != nil:
		s.bait.heard(r)
	default:
		s.bait.watch().Mark(r)
	}
}

func isOpen(r *record.Record) bool { return (&event{r: r}).isOpen() }

// heard searches a conversation with the sinkhole, and keeps canaries out of
// what is shown of it.
func (b bait) heard(r *record.Record) {
	c := r.Conversation
	b.watch().Heard(r, c)
	head, said := b.set.Redact(string(c.Data[:c.Head])), b.set.Redact(string(c.Said()))
	c.Data, c.Head = []byte(head+said), int64(len(head))
	c.Name, c.SNI, c.Request = b.set.Redact(c.Name), b.set.Redact(c.SNI), b.set.Redact(c.Request)
	for i, h := range c.Headers {
		c.Headers[i] = b.set.Redact(h)
	}
}

// canaryFields adds to an alert which canary it is about.
func canaryFields(fields map[string]any, r *record.Record) {
	for name, value := range map[string]string{falco.FieldCanary: r.Canary, falco.FieldCanaryWhere: r.CanaryWhere, falco.FieldCanaryForm: r.CanaryForm} {
		if value != "" {
			fields[name] = value
		}
	}
}

// without keeps the values of canaries out of an alert.
func (b bait) without(a falco.Alert) falco.Alert {
	if b.set == nil {
		return a
	}
	a.Output = b.set.Redact(a.Output)
	for name, v := range a.Fields {
		switch v := v.(type) {
		case string:
			a.Fields[name] = b.set.Redact(v)
		case []string:
			out := make([]string, len(v))
			for i, s := range v {
				out[i] = b.set.Redact(s)
			}
			a.Fields[name] = out
		}
	}
	return a
}

func canaryGetters() map[int]getter {
	return map[int]getter{
		rules.FalconerCanary:      text(func(e *event) string { return e.r.Canary }),
		rules.FalconerCanaryWhere: text(func(e *event) string { return e.r.CanaryWhere }),
		rules.FalconerCanaryForm:  text(func(e *event) string { return e.r.CanaryForm }),
	}
}
