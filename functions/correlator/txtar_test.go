package correlator

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/falco"
)

var update = flag.Bool("update", false, "rewrite testdata with what the correlator emits")

// TestEvents plays testdata/*.txtar. "in" has one JSON object a line: an event
// ({"type", "data"}), an alert that is stored and announced ({"alert"}), or a
// sweep after a time ({"sweep": "1h"}). "out" is what was emitted.
func TestEvents(t *testing.T) {
	eventtest.Golden(t, *update, func(t *testing.T, a *txtar.Archive) []byte {
		r := newRig(t, alerts.Config{})
		for line := range bytes.Lines(a.Files[0].Data) {
			r.play(line)
		}
		return []byte(r.transcript())
	})
}

// play does what one line of a txtar file says.
func (r *rig) play(line []byte) {
	r.t.Helper()
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	var step struct {
		Type  string          `json:"type"`
		Data  json.RawMessage `json:"data"`
		Alert json.RawMessage `json:"alert"`
		Sweep string          `json:"sweep"`
	}
	r.must(json.Unmarshal(line, &step))
	switch {
	case step.Sweep != "":
		d, err := time.ParseDuration(step.Sweep)
		r.must(err)
		r.mu.Lock()
		r.now = r.now.Add(d)
		r.mu.Unlock()
		r.must(r.c.Sweep(r.t.Context(), r.clock()))
	case len(step.Alert) > 0:
		a, err := falco.Decode(step.Alert)
		r.must(err)
		r.must(r.handle(event.FalcoAlert, r.put(a)))
	default:
		r.must(r.handle(step.Type, step.Data))
	}
}

// transcript is all that was emitted, for a person to read.
func (r *rig) transcript() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.sent {
		var data bytes.Buffer
		if err := json.Indent(&data, e.Data(), "", "  "); err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\nid %s\n%s\n", e.Type(), e.Subject(), e.ID(), data.Bytes())
	}
	return b.String()
}
