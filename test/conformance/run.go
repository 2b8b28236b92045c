package conformance

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// Pace says how long to wait for a target.
type Pace struct {
	Patience time.Duration // for what must come
	Quiet    time.Duration // for what must not
}

// Run plays one case on a target.
func Run(t *testing.T, target Target, p Pace, a *txtar.Archive) {
	t.Helper()
	files := map[string]string{"dead.script": "", "dead.want": ""}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	urls := map[string]string{}
	for name := range files {
		who, ok := strings.CutSuffix(name, ".want")
		if !ok {
			continue
		}
		url, err := target.Receive(t.Context(), who, files[who+".script"])
		if err != nil {
			t.Fatal(err)
		}
		urls[who] = url
	}
	ingress, err := target.Apply(t.Context(), []byte(files["topology.yaml"]), urls)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(files["events"]) {
		var want int
		if _, err := fmt.Sscanf(line, "%d", &want); err != nil {
			t.Fatalf("events: %q: %v", line, err)
		}
		got, err := target.Send(t.Context(), ingress, strings.TrimSpace(line[3:]))
		if err != nil || got != want {
			t.Fatalf("sent %sgot %d, %v", line, got, err)
		}
	}
	for who := range urls {
		settle(t, target, p, who, lines(files[who+".want"]))
	}
	time.Sleep(p.Quiet)
	for who := range urls {
		if diff := cmp.Diff(lines(files[who+".want"]), got(t, target, who)); diff != "" {
			t.Errorf("%s received (-want +got):\n%s", who, diff)
		}
	}
}

// settle waits until a receiver has as many events as it should.
func settle(t *testing.T, target Target, p Pace, who string, want []string) {
	t.Helper()
	for end := time.Now().Add(p.Patience); ; time.Sleep(5 * time.Millisecond) {
		missing := len(want) - len(got(t, target, who))
		if missing <= 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: %d events are missing", who, missing)
			return
		}
	}
}

func got(t *testing.T, target Target, who string) []string {
	t.Helper()
	list, err := target.Got(context.WithoutCancel(t.Context()), who)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clip(list)
}

func lines(s string) []string {
	var ls []string
	for l := range bytes.Lines([]byte(s)) {
		ls = append(ls, string(bytes.TrimSpace(l)))
	}
	return ls
}
