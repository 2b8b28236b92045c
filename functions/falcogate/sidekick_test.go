package falcogate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/alerts"
)

// requestOf makes a request with the headers of a version of Falcosidekick.
func requestOf(body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.Header[k] = []string{v} // as it is: header values are bytes
	}
	return r
}

// TestVersions sends an alert as versions of Falcosidekick do. 2.25 and 2.26
// overwrite their event's source with the alert's; 2.27 and 2.28 can't send
// CloudEvents at all, nor can 2.29: their own library refuses the extension.
func TestVersions(t *testing.T) {
	const (
		old  = `{"output":"o","priority":"Error","rule":"r","time":"2026-11-20T19:23:54Z","output_fields":{"evt.num":1},"source":"syscall"}`
		uuid = `{"uuid":"8f0c","output":"o","priority":"Error","rule":"r","time":"2026-11-20T19:23:54Z","output_fields":{"evt.num":1},"source":"syscall","tags":["a"],"hostname":"n1"}`
		k8s  = `{"output":"o","priority":"Error","rule":"r","time":"2026-11-20T19:23:54Z","output_fields":{},"source":"k8s_audit"}`
		none = `{"output":"o","priority":"Error","rule":"r","time":"2026-11-20T19:23:54Z","output_fields":{}}`
		spec = "Ce-Specversion: 1.0"
		typ  = "Ce-Type: falco.rule.output.v1"
	)
	tests := map[string]struct {
		body    string
		headers []string
		status  int
	}{
		"2.25":                       {old, []string{spec, typ, "Ce-Source: syscall", "Ce-Priority: Error", "Ce-Rule: r"}, 202},
		"2.25, Kubernetes audit":     {k8s, []string{spec, typ, "Ce-Source: k8s_audit"}, 202},
		"2.25, another's source":     {old, []string{spec, typ, "Ce-Source: k8s_audit"}, 400},
		"2.25, no source":            {none, []string{spec, typ, "Ce-Source: syscall"}, 400},
		"no source at all":           {none, []string{spec, typ}, 400},
		"2.30":                       {uuid, []string{spec, typ, "Ce-Source: https://falco.org", "Ce-Eventsource: syscall", "Ce-Hostname: n1"}, 202},
		"falco.org":                  {uuid, []string{spec, typ, "Ce-Source: falco.org"}, 202},
		"a rule's name in raw UTF-8": {uuid, []string{spec, typ, "Ce-Source: https://falco.org", "Ce-Rule: Zugriff \"über\" 日本 100%"}, 202},
		"a rule's name in Latin-1":   {uuid, []string{spec, typ, "Ce-Source: https://falco.org", "Ce-Rule: Zugriff \xfcber"}, 202},
		"webhook 2.25, no hostname":  {old, []string{"User-Agent: Falcosidekick"}, 202},
		"webhook 2.30":               {uuid, nil, 202},
		"structured 2.25":            {`{"specversion":"1.0","id":"1","type":"falco.rule.output.v1","source":"syscall","data":` + old + `}`, []string{"Content-Type: application/cloudevents+json"}, 202},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := &memory{seen: map[string]bool{}}
			g, reg := gate(t, m, Config{})
			w := httptest.NewRecorder()
			g.ServeHTTP(w, requestOf(tt.body, tt.headers...))
			if w.Code != tt.status || (len(m.list) == 1) != (tt.status == 202) {
				t.Errorf("status %d, %d stored, want %d: %s", w.Code, len(m.list), tt.status, w.Body)
			}
			if tt.status == 400 && (strings.TrimSpace(w.Body.String()) == "" || counts(t, reg)["rejected.source"] != 1) {
				t.Errorf("no reason, or not counted: %q %v", w.Body, counts(t, reg))
			}
		})
	}
}

// TestWhatFalcosidekickDoesToFields: a field cut at 512 bytes (507 and "[...]"),
// through a character too, numbers above 2^53, and fields of other types than
// Falco gives are stored as they came. Sent twice, such an alert is one.
func TestWhatFalcosidekickDoesToFields(t *testing.T) {
	long := strings.Repeat("x", 506) + "\xc3[...]" // a character was cut in two
	body := `{"rule":"r","output":"o ` + long + `","priority":"Error","time":"2026-11-20T19:23:54.000000001Z","output_fields":{` +
		`"proc.cmdline":"` + long + `","evt.time":1795202634563820651,"proc.pid":"32","user.uid":{"a":[1]},"fd.name":null,"proc.tty":true,"evt.num":18446744073709551615}}`
	store := open(t, alerts.Config{})
	g, reg := gate(t, store, Config{})
	for range 2 {
		w := httptest.NewRecorder()
		if g.ServeHTTP(w, requestOf(body)); w.Code != http.StatusAccepted {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	}
	if got := counts(t, reg); got["stored"] != 1 || got["duplicate"] != 1 {
		t.Errorf("counted %v", got)
	}
	seen := 0
	if err := store.Read(t.Context(), "alerts.other._._.>", 0, func(e alerts.Entry) error {
		seen++
		a := e.Alert
		if a.Field("evt.time") != "1795202634563820651" || a.Field("evt.num") != "18446744073709551615" {
			t.Errorf("numbers became %s and %s", a.Field("evt.time"), a.Field("evt.num"))
		}
		if cmd := a.Field("proc.cmdline"); !strings.HasSuffix(cmd, "[...]") || !strings.HasPrefix(cmd, strings.Repeat("x", 506)) {
			t.Errorf("the command line became %q", cmd)
		}
		if a.Field("proc.pid") != "32" || a.Field("user.uid") != "" || a.Field("proc.tty") != "true" {
			t.Errorf("fields %v", a.Fields)
		}
		return e.Err
	}); err != nil {
		t.Fatal(err)
	}
	if seen != 1 {
		t.Errorf("%d stored for no pod", seen)
	}
}

// TestWhoseAlertsAre: those from the sandbox's namespace are the scan's, wherever
// else a pod has such a name, label or variable they are not.
func TestWhoseAlertsAre(t *testing.T) {
	const id = "9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab"
	tests := map[string]struct{ namespace, fields, subject string }{
		"a scan's pod":      {"", `"k8s.ns.name":"falconer-sandbox","k8s.pod.name":"falconer-scan-` + id + `-x"`, "alerts.scan." + id + ".>"},
		"imitated":          {"", `"k8s.ns.name":"web","k8s.pod.name":"falconer-scan-` + id + `-x"`, "alerts.other.web.falconer-scan-" + id + "-x.>"},
		"imitated marker":   {"", `"k8s.ns.name":"web","k8s.pod.name":"front","proc.env[FALCONER_SCAN_ID]":"` + id + `"`, "alerts.other.web.front.>"},
		"set otherwise":     {"scans", `"k8s.ns.name":"scans","k8s.pod.name":"falconer-scan-` + id + `-x"`, "alerts.scan." + id + ".>"},
		"not the set one":   {"scans", `"k8s.ns.name":"falconer-sandbox","k8s.pod.name":"falconer-scan-` + id + `"`, "alerts.other.falconer-sandbox.falconer-scan-" + id + ".>"},
		"no pod, by marker": {"", `"container.id":"c","proc.env[FALCONER_SCAN_ID]":"` + id + `"`, "alerts.scan." + id + ".>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := open(t, alerts.Config{Namespace: tt.namespace})
			g, _ := gate(t, store, Config{})
			w := httptest.NewRecorder()
			g.ServeHTTP(w, requestOf(`{"rule":"r","output":"o","priority":"Error","time":"2026-11-20T19:23:54Z","output_fields":{`+tt.fields+`}}`))
			totals, _, err := store.Totals(t.Context(), tt.subject)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusAccepted || len(totals) != 1 {
				all, _, err := store.Totals(t.Context(), "alerts.>")
				t.Errorf("status %d, stored %v (%v), not under %s", w.Code, all, err, tt.subject)
			}
		})
	}
}
