package correlator_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

var origin = time.Date(2026, 11, 20, 19, 0, 0, 0, time.UTC)

func scanID(n int) scan.ID { return scan.ID(fmt.Sprintf("%08x-0000-5000-8000-000000000000", n)) }

// alertText is the n-th alert of a scan, or of no scan where id is "".
func alertText(id scan.ID, n int) string {
	fields := map[string]any{"evt.num": n, "proc.cmdline": "cat key", "fd.name": fmt.Sprintf("/home/u/.ssh/id%d", n%3)}
	if id != "" {
		fields["k8s.pod.label[falconer.dev/scan-id]"] = id // as Falco says it
	}
	b, err := json.Marshal(map[string]any{
		"uuid": rand.Uint64(), "rule": fmt.Sprintf("rule %d", n%4), "priority": "Warning", "hostname": "h", "output": fmt.Sprintf("%s alert %d", id, n),
		"time": origin.Add(time.Duration(n) * time.Second), "output_fields": fields,
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// child is a node in a process of its own.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), nodeDir+"="+dir)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the node did not start: %v", err)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// TestKilledNodeLosesNothing kills the process four times while alerts and
// events come in. A sender repeats what was not acknowledged, and some of what
// was. In the end each alert stands in exactly one place, once.
func TestKilledNodeLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a process")
	}
	const scans, each = 12, 40
	dir := t.TempDir()
	type message struct{ path, contentType, body string }
	var messages []message
	cloudEvent := func(typ string, id scan.ID, data any) message {
		e, err := event.New(typ, "/test", string(id), event.ID(typ, string(id)), origin, data)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return message{"/falconer/default", "application/cloudevents+json", string(b)}
	}
	for s := range scans {
		id := scanID(s)
		req := scan.Request{ID: id, Project: "acme/app", Root: ".", Manager: "npm"}
		messages = append(messages,
			cloudEvent(event.ScanStarted, id, event.Started{Request: req, Attempt: 1, At: time.Now()}),
			cloudEvent(event.SandboxExited, id, event.Exited{Request: req, Attempt: 1, At: time.Now(), Sandbox: finding.Sandbox{Reason: "completed"}}))
		for n := range each {
			messages = append(messages, message{"/falco", "application/json", alertText(id, n)})
		}
	}
	for n := range each {
		messages = append(messages, message{"/falco", "application/json", alertText("", n)})
	}
	rng := rand.New(rand.NewPCG(7, 8))
	rng.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
	for range len(messages) / 5 { // repetitions
		messages = append(messages, messages[rng.IntN(len(messages))])
	}

	node := startChild(t, dir)
	client := &http.Client{Timeout: 15 * time.Second}
	send := func(m message) bool {
		resp, err := client.Post("http://"+node.addr+m.path, m.contentType, bytes.NewReader([]byte(m.body)))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusAccepted
	}
	todo := messages
	for round := 0; len(todo) > 0; round++ {
		if round > 20 {
			t.Fatalf("%d messages are not accepted", len(todo))
		}
		var failed []message
		var mu sync.Mutex
		var wg sync.WaitGroup
		slots := make(chan struct{}, 8)
		stop := make(chan struct{})
		if round < 4 {
			wg.Go(func() { <-stop; node.kill() })
		}
		for i, m := range todo {
			if i == len(todo)/3 && round < 4 {
				close(stop)
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if !send(m) {
					mu.Lock()
					failed = append(failed, m)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if todo = failed; round < 4 {
			node = startChild(t, dir)
		}
	}
	node.kill()

	// The last look is from inside.
	last, closeNode, err := startNode(t.Context(), dir, alerts.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeNode(); err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(60 * time.Second)
	for {
		missing := audit(t, last, scans, each)
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// audit says what is not in its place yet. Too much of anything is an error at
// once.
func audit(t *testing.T, n *node, scans, each int) (missing string) {
	t.Helper()
	for s := range scans {
		done, err := n.results.Finished(t.Context(), scanID(s))
		if err != nil {
			t.Fatal(err)
		}
		if !done {
			return fmt.Sprintf("scan %d has no result", s)
		}
		r, err := n.results.Get(t.Context(), scanID(s))
		if err != nil {
			t.Fatal(err)
		}
		var found int64
		for _, f := range r.Findings {
			found += f.Count
		}
		switch {
		case r.Counts.Alerts > int64(each) || found > int64(each):
			t.Fatalf("scan %d: %d alerts in the result, %d in findings, only %d were sent", s, r.Counts.Alerts, found, each)
		case r.Counts.Alerts < int64(each):
			missing = fmt.Sprintf("scan %d: %d of %d alerts joined", s, r.Counts.Alerts, each)
		}
	}
	totals, _, err := n.alerts.Totals(t.Context(), "alerts.other.>")
	if err != nil {
		t.Fatal(err)
	}
	if len(totals) > 0 {
		missing = fmt.Sprintf("alerts of no scan still wait: %v", totals)
	}
	if missing != "" {
		return missing
	}
	emitted := map[string]int{}
	revisions := map[string]int{}
	for e, err := range n.events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type() {
		case event.RuntimeAlert:
			emitted[e.ID()]++
		case event.ScanFinished, event.ScanAmended:
			revisions[e.ID()]++
		}
	}
	if len(emitted) != each {
		missing = fmt.Sprintf("%d of %d runtime alerts were emitted", len(emitted), each)
	}
	for id, n := range emitted {
		if n > 1 {
			t.Fatalf("runtime alert %s was stored %d times", id, n)
		}
	}
	for s := range scans {
		r, err := n.results.Get(t.Context(), scanID(s))
		if err != nil {
			t.Fatal(err)
		}
		for rev := 1; rev <= r.Revision; rev++ {
			typ := event.ScanFinished
			if rev > 1 {
				typ = event.ScanAmended
			}
			if k := revisions[event.ID(typ, string(r.ScanID), fmt.Sprint(rev))]; k != 1 {
				missing = fmt.Sprintf("revision %d of scan %d was emitted %d times", rev, s, k)
			}
		}
	}
	return missing
}
