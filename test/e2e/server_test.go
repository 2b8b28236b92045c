package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/client"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// server is a running `falconer serve`.
type server struct {
	*started
	url string
	api *client.Client
}

var address = regexp.MustCompile(`address=(http://\S+)`)

// serve starts a server with its state in the account's home.
func (a *account) serve(args ...string) *server {
	a.t.Helper()
	p := a.start(append([]string{"serve", "--listen=127.0.0.1:0", "--data=" + filepath.Join(a.home, "data")}, args...)...)
	p.says("address=http://")
	s := &server{started: p, url: address.FindStringSubmatch(p.errout.String())[1]}
	s.api = client.New(s.url, "", http.DefaultClient)
	eventually(a.t, "the server is ready", func() (string, bool) {
		code, body := s.get("/readyz")
		return body, code == http.StatusOK
	})
	return s
}

// stop ends the server in order.
func (s *server) stop() {
	s.t.Helper()
	begin := time.Now()
	s.signal(terminate)
	if o := s.wait(); o.code != 0 {
		s.t.Errorf("exit code %d\n%s", o.code, o.errout)
	}
	if took := time.Since(begin); took > 45*time.Second {
		s.t.Errorf("the end took %s", took)
	}
}

// get fetches a page.
func (s *server) get(path string) (int, string) {
	s.t.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// post sends a body and returns the answer.
func (s *server) post(path string, body []byte, headers ...string) (int, string) {
	s.t.Helper()
	code, text, err := s.try(path, body, headers...)
	if err != nil {
		s.t.Fatal(err)
	}
	return code, text
}

func (s *server) try(path string, body []byte, headers ...string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPost, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// submit hands an archive of a project in.
func (s *server) submit(name string, f files, timeout time.Duration) api.Scan {
	s.t.Helper()
	sub, err := s.api.Submit(s.t.Context(), bytes.NewReader(archive(s.t, "src", f)), client.Submission{Project: "local/" + name, StripTop: true, Timeout: timeout})
	if err != nil || len(sub.Scans) != 1 {
		s.t.Fatalf("submit: %v, %+v\n%s", err, sub, s.errout)
	}
	return sub.Scans[0]
}

// status waits until a scan is that far.
func (s *server) status(id scan.ID, want string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("scan %s is %s", id, want), func() (string, bool) {
		state, err := s.api.Scan(s.t.Context(), id)
		return fmt.Sprintf("%+v %v", state, err), err == nil && string(state.Status) == want
	})
}

// result waits for a scan's result.
func (s *server) result(id scan.ID) finding.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	state, err := s.api.Wait(ctx, id, 50*time.Millisecond)
	if err != nil || state.Result == nil {
		s.t.Fatalf("scan %s: %v, %+v\n%s", id, err, state, s.errout)
	}
	return *state.Result
}

// events lists the log, of one subject or all.
func (s *server) events(q api.Query) (list []api.Logged) {
	s.t.Helper()
	for e, err := range s.api.Events(s.t.Context(), q) {
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// count is how many events of a type there are.
func (s *server) count(typ string, subject string) int {
	s.t.Helper()
	return len(s.events(api.Query{Type: "dev.falconer." + typ + ".v1", Subject: subject}))
}

// metrics reads the sums of all series by name.
func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	code, body := s.get("/metrics")
	if code != http.StatusOK {
		s.t.Fatalf("/metrics: %d", code)
	}
	sums := map[string]float64{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			s.t.Fatal(err)
		}
		name, _, _ := strings.Cut(line[:i], "{")
		sums[name] += v
	}
	return sums
}

// balanced checks that every alert that came in is accounted for: at the gate
// at once, in the correlator once it has caught up.
func (s *server) balanced() {
	s.t.Helper()
	const gate, join = "falconer_gate_alerts_", "falconer_correlator_alerts_"
	m := s.metrics()
	if in, out := m[gate+"received_total"], m[gate+"stored_total"]+m[gate+"duplicate_total"]+m[gate+"capped_total"]+m[gate+"rejected_total"]+m[gate+"failed_total"]; in != out {
		s.t.Errorf("the gate received %v and accounts for %v", in, out)
	}
	eventually(s.t, "the correlator accounts for every stored alert", func() (string, bool) {
		m = s.metrics()
		state := ""
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if strings.HasPrefix(name, gate) || strings.HasPrefix(name, join) {
				state += fmt.Sprintf("%s %v\n", name, m[name])
			}
		}
		return state, m[join+"joined_total"]+m[join+"duplicate_total"]+m[join+"unmatched_total"]-m[join+"rejoined_total"]+m[join+"refused_total"] >= m[gate+"stored_total"]
	})
}

// alert is one of Falco's, told apart by n, for a scan or for none.
func alert(n int, id scan.ID) []byte {
	marker := ""
	if id != "" {
		marker = fmt.Sprintf(`"proc.env[FALCONER_SCAN_ID]":%q,`, id)
	}
	return fmt.Appendf(nil, `{"output":"12:00:00.%[1]d: Notice Posted rule %[1]d","priority":"Notice","rule":"Posted rule","source":"syscall","hostname":"node",`+
		`"tags":["falconer"],"time":"2026-03-01T12:00:00.%09[1]dZ","output_fields":{%[2]s"evt.type":"openat","fd.name":"/etc/posted-%[1]d","proc.cmdline":"cat /etc/posted-%[1]d","proc.pid":%[1]d}}`, n, marker)
}

// sleeper is a project whose postinstall script takes seconds and does no harm,
// and an address that serves it.
func sleeper(t *testing.T, seconds int) (files, string) {
	t.Helper()
	reg := registrytest.New()
	p, err := reg.Add(registrytest.Files{"package.json": fmt.Sprintf(`{"name":"sleeper","version":"1.0.%d","scripts":{"postinstall":"sleep %d"}}`, seconds, seconds)})
	if err != nil {
		t.Fatal(err)
	}
	return requiring(t, p), reg.Start(t) + "/"
}
