package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// What Falcosidekick really sends, byte for byte, becomes runtime alerts: each
// once, however often it was sent.
func TestFalcosidekick(t *testing.T) {
	a := newAccount(t)
	s := a.serve()
	captures, err := filepath.Glob(filepath.Join("..", "..", "functions", "falcogate", "testdata", "captures", "*"))
	if err != nil || len(captures) < 20 {
		t.Fatal(len(captures), err)
	}
	addr := strings.TrimPrefix(s.url, "http://")
	for range 2 {
		for _, dir := range captures {
			head, err := os.ReadFile(filepath.Join(dir, "headers.txt"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(filepath.Join(dir, "body.json"))
			if err != nil {
				t.Fatal(err)
			}
			// Only the address was another one.
			_, rest, _ := bytes.Cut(head, []byte("\n"))
			request := append([]byte("POST /falco HTTP/1.1\r\n"), rest...)
			if code := send(t, addr, append(request, body...)); code != http.StatusAccepted {
				t.Errorf("%s: %d", dir, code)
			}
		}
	}
	eventually(t, "each alert is a runtime alert", func() (string, bool) {
		n := s.count("runtime.alert", "")
		return fmt.Sprint(n, " of ", len(captures)), n == len(captures)
	})
	if code, _ := s.post("/falco", []byte(`{"rule":5}`), "Content-Type", "application/json"); code != http.StatusBadRequest {
		t.Errorf("what is no alert: %d", code)
	}
	s.balanced()
	m := s.metrics()
	if n := float64(len(captures)); m["falconer_gate_alerts_stored_total"] != n || m["falconer_gate_alerts_duplicate_total"] != n || m["falconer_gate_alerts_rejected_total"] != 1 {
		t.Errorf("stored %v, duplicate %v, rejected %v of %v sent twice", m["falconer_gate_alerts_stored_total"], m["falconer_gate_alerts_duplicate_total"], m["falconer_gate_alerts_rejected_total"], n)
	}
	s.stop()
}

// send writes a request as it is and returns the status.
func send(t *testing.T, addr string, request []byte) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// An alert finds its scan before, while and after it runs; after its end the
// result is amended.
func TestJoin(t *testing.T) {
	a := newAccount(t)
	f, registry := sleeper(t, 6)
	a.env = append(a.env, "npm_config_registry="+registry)
	s := a.serve("--parallel=1", "--results="+filepath.Join(a.home, "results"))
	post := func(n int, id scan.ID) {
		t.Helper()
		for range 2 { // the second is a repetition
			if code, body := s.post("/falco", alert(n, id), "Content-Type", "application/json"); code != http.StatusAccepted {
				t.Errorf("alert %d: %d %s", n, code, body)
			}
		}
	}
	first, second := s.submit("first", f, time.Minute).ID, s.submit("second", f, time.Minute).ID
	s.status(first, "running")
	post(1, second) // which waits for its turn
	post(2, first)
	r := s.result(first)
	if !posted(r, 2) || r.Revision != 1 {
		t.Errorf("while it ran: revision %d, findings %+v", r.Revision, r.Findings)
	}
	r = s.result(second)
	if !posted(r, 1) {
		t.Errorf("before it ran: %+v", r.Findings)
	}
	alertsBefore := r.Counts.Alerts
	post(3, second)
	eventually(t, "the result is amended", func() (string, bool) {
		r = s.result(second)
		return fmt.Sprintf("revision %d, findings %+v", r.Revision, r.Findings), posted(r, 3)
	})
	if r.Revision < 2 || !posted(r, 1) || r.Counts.Alerts != alertsBefore+1 {
		t.Errorf("after it ran: revision %d, %d alerts, %d before; findings %+v", r.Revision, r.Counts.Alerts, alertsBefore, r.Findings)
	}
	if n := s.count("scan.amended", string(second)); n != r.Revision-1 {
		t.Errorf("amended %d times, revision %d", n, r.Revision)
	}
	file := filepath.Join(a.home, "results", string(second)+".json")
	eventually(t, "the file is the newest revision", func() (string, bool) {
		b, err := os.ReadFile(file)
		return string(b), err == nil && results(t, string(b))[0].Revision == r.Revision
	})
	s.balanced()
	s.stop()
}

// posted reports whether the alert n is among a result's findings, once.
func posted(r finding.Result, n int) bool {
	found := 0
	for _, f := range r.Findings {
		if f.Rule == "Posted rule" && f.Count == 1 && f.Evidence[0].File == fmt.Sprintf("/etc/posted-%d", n) {
			found++
		}
	}
	return found == 1
}

// A server that is killed in the middle of a scan and of a stream of alerts
// loses nothing it said yes to, doubles nothing, and runs the scan again.
func TestKilledServer(t *testing.T) {
	a := newAccount(t)
	f, registry := sleeper(t, 8)
	a.env = append(a.env, "npm_config_registry="+registry)
	s := a.serve()
	id := s.submit("slow", f, time.Minute).ID
	s.status(id, "running")
	var accepted atomic.Int64
	streamed := make(chan struct{})
	go func() { // until the server is gone
		defer close(streamed)
		for n := 1; ; n++ {
			code, _, err := s.try("/falco", alert(n, id), "Content-Type", "application/json")
			if err != nil {
				return
			}
			if code == http.StatusAccepted {
				accepted.Store(int64(n))
			}
		}
	}()
	eventually(t, "alerts flow", func() (string, bool) { return fmt.Sprint(accepted.Load()), accepted.Load() >= 200 })
	s.signal(os.Kill)
	s.wait()
	<-streamed
	eventually(t, "the sandbox is gone", func() (string, bool) {
		left := a.processes()
		return strings.Join(left, "\n"), len(left) == 0
	})
	s = a.serve() // which removes the killed one's folders, too: the account is searched at the end
	last := int(accepted.Load())
	for n := max(1, last-20); n <= last; n++ { // a sender that is not sure sends again
		if code, body := s.post("/falco", alert(n, id), "Content-Type", "application/json"); code != http.StatusAccepted {
			t.Errorf("alert %d: %d %s", n, code, body)
		}
	}
	r := s.result(id)
	joined := func() (n int64) { // beside what the sandbox's own sensor saw
		for _, f := range r.Findings {
			if f.Rule == "Posted rule" {
				n += f.Count
			}
		}
		return n
	}
	eventually(t, "every accepted alert is in the result", func() (string, bool) {
		r = s.result(id)
		return fmt.Sprintf("%d of %d, revision %d", joined(), last, r.Revision), joined() >= int64(last)
	})
	if over := joined() - int64(last); over > 1 { // the one under way when it was killed may have been stored
		t.Errorf("%d alerts in the result, %d were accepted", joined(), last)
	}
	if r.Verdict != finding.Clean || r.Sandbox.Reason != "completed" {
		t.Errorf("verdict %s: %q, sandbox %+v", r.Verdict, r.Reasons, r.Sandbox)
	}
	attempts := map[int]bool{}
	for _, e := range s.events(api.Query{Type: "dev.falconer.scan.started.v1", Subject: string(id)}) {
		var started struct{ Attempt int }
		if err := json.Unmarshal(e.Event.Data(), &started); err != nil {
			t.Fatal(err)
		}
		attempts[started.Attempt] = true
	}
	if len(attempts) != 2 {
		t.Errorf("attempts %v", attempts)
	}
	if n := s.count("scan.finished", string(id)); n != 1 {
		t.Errorf("finished %d times", n)
	}
	s.balanced()
	s.stop()
}
