package sensor

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/canary/leak"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

func token(t *testing.T, set *canary.Set) string {
	t.Helper()
	for _, e := range set.Env() {
		if v, ok := strings.CutPrefix(e, "NPM_TOKEN="); ok {
			return v
		}
	}
	t.Fatal("no NPM_TOKEN")
	return ""
}

// A canary is named where it is read, whatever the kernel knows of it; written
// back where it was it has not left.
func TestCanaryByPlace(t *testing.T) {
	s := New(Config{Setting: ecosystem.Setting{Home: "/root", Work: "/w"}})
	for name, tt := range map[string]struct {
		r             record.Record
		canary, where string
	}{
		"read":            {record.Record{Kind: "openat", Path: "/root/.vault-token", HasResult: true, Result: 3}, "Vault token", "read"},
		"the project's":   {record.Record{Kind: "open", Path: "/w/.env", HasResult: true, Result: 3}, "project settings (.env)", "read"},
		"not opened":      {record.Record{Kind: "openat", Path: "/root/.vault-token", HasResult: true, Result: -13}, "", ""},
		"opened to write": {record.Record{Kind: "openat", Path: "/root/.vault-token", HasResult: true, Result: 3, Flags: 1}, "", ""},
		"another file":    {record.Record{Kind: "openat", Path: "/root/.bashrc", HasResult: true, Result: 3}, "", ""},
		"written back":    {record.Record{Kind: "write", FDPath: "/root/.vault-token", Canary: "Vault token", CanaryWhere: leak.File}, "", ""},
		"written away":    {record.Record{Kind: "write", FDPath: "/root/.npmrc", Canary: "Vault token", CanaryWhere: leak.File}, "Vault token", leak.File},
	} {
		if s.mark(&tt.r); tt.r.Canary != tt.canary || tt.r.CanaryWhere != tt.where {
			t.Errorf("%s: %q, %q", name, tt.r.Canary, tt.r.CanaryWhere)
		}
	}
}

// What a conversation with the sinkhole says is searched, and shown without the
// value.
func TestCanaryHeard(t *testing.T) {
	set := canary.New(canary.Seed{3})
	s := New(Config{})
	s.Bait(set)
	head := "POST /" + token(t, set)[4:] + " HTTP/1.1\r\n\r\n"
	body := `{"a":"` + base64.StdEncoding.EncodeToString([]byte("t="+token(t, set))) + `"}`
	r := record.Record{Kind: record.KindHeard, Addr: record.Sockaddr(netip.MustParseAddrPort("192.0.2.1:443")),
		Conversation: &record.Conversation{Protocol: "https", Request: "POST https://c.example.com/" + token(t, set), Headers: []string{"X-Key: " + token(t, set)},
			Data: []byte(head + body), Head: int64(len(head))}}
	s.mark(&r)
	c := r.Conversation
	if r.Canary != "variable NPM_TOKEN" || r.CanaryWhere != leak.Connection {
		t.Errorf("%q, %q", r.Canary, r.CanaryWhere)
	}
	for _, text := range []string{c.Request, c.Headers[0], string(c.Data)} {
		if len(set.Find([]byte(text))) > 0 {
			t.Errorf("%q is shown", text)
		}
	}
	if got := string(c.Said()); got != `{"a":"[variable NPM_TOKEN, base64]"}` {
		t.Errorf("said %q", got)
	}
}

func TestAlertsGoWithoutCanaries(t *testing.T) {
	set := canary.New(canary.Seed{3})
	s := New(Config{})
	s.Bait(set)
	a := s.bait.without(falco.Alert{Output: "x " + token(t, set), Fields: map[string]any{
		"proc.cmdline": "curl " + token(t, set), falco.FieldChain: []string{"sh", token(t, set)}, "proc.pid": int64(3)}})
	if a.Output != "x [variable NPM_TOKEN, plain]" || a.Fields["proc.cmdline"] != "curl [variable NPM_TOKEN, plain]" || a.List(falco.FieldChain)[1] != "[variable NPM_TOKEN, plain]" || a.Fields["proc.pid"] != int64(3) {
		t.Errorf("%+v", a)
	}
}
