package leak_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/canary/leak"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

var set = canary.New(canary.Seed{7})

func value(t testing.TB, name string) string {
	t.Helper()
	for _, e := range set.Env() {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	t.Fatalf("no variable %s", name)
	return ""
}

// query encodes a question for a name.
func query(name string) []byte {
	b := make([]byte, 12)
	for l := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

var nameServer = []byte{2, 0, 0, 53, 127, 0, 0, 53}

func TestMark(t *testing.T) {
	token := value(t, "NPM_TOKEN")
	hexed := hex.EncodeToString([]byte(token))
	for name, tt := range map[string]struct {
		r           record.Record
		where, form string // "" for what is no leak
	}{
		"argument":              {record.Record{Kind: record.KindExec, Argv: []string{"curl", "-d", "x=" + token}}, leak.Argument, "plain"},
		"arguments of no harm":  {record.Record{Kind: record.KindExec, Argv: []string{"curl", "-d", "x=1"}}, "", ""},
		"another variable":      {record.Record{Kind: record.KindExec, Env: []string{"NODE_OPTIONS=" + token}}, leak.Environment, "plain"},
		"its own variable":      {record.Record{Kind: record.KindExec, Env: []string{"NPM_TOKEN=" + token}}, "", ""},
		"bytes of a connection": {record.Record{Kind: "sendto", FD: 4, Proto: "tcp", Data: []byte(base64.StdEncoding.EncodeToString([]byte("k=" + token)))}, leak.Connection, "base64"},
		"a name":                {record.Record{Kind: "sendto", FD: 4, Proto: "udp", Addr: nameServer, Data: query(hexed[:50] + "." + hexed[50:] + ".example.com")}, leak.Name, "hex"},
		"a harmless name":       {record.Record{Kind: "sendto", FD: 4, Proto: "udp", Addr: nameServer, Data: query("www.example.com")}, "", ""},
		"a file's name":         {record.Record{Kind: "openat", Path: "/tmp/" + token}, leak.Path, "plain"},
		"a link's target":       {record.Record{Kind: "symlink", Path: "/tmp/x", Target: token}, leak.Path, "plain"},
		"an open":               {record.Record{Kind: "openat", Path: "/root/.npmrc"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := tt.r
			if tt.where != "" {
				want.Canary, want.CanaryWhere, want.CanaryForm = "variable NPM_TOKEN", tt.where, tt.form
			}
			leak.New(set).Mark(&tt.r)
			if d := cmp.Diff(want, tt.r); d != "" {
				t.Error(d)
			}
		})
	}
}

// A value is found in writes to one descriptor, between which the process
// writes elsewhere, and in the names of several queries.
func TestSpread(t *testing.T) {
	id, token := value(t, "AWS_ACCESS_KEY_ID"), value(t, "NPM_TOKEN")
	w := leak.New(set)
	send := func(process int32, fd int64, data string) string {
		r := record.Record{Kind: "write", TGID: process, FD: fd}
		w.Sent(&r, leak.File, []byte(data))
		return r.Canary
	}
	if got := send(5, 3, "x"+id[:9]) + send(5, 4, "something") + send(6, 3, id[9:]); got != "" {
		t.Errorf("%q is found where no descriptor has all of it", got)
	}
	if got := send(5, 3, id[9:]); got != "variable AWS_ACCESS_KEY_ID" {
		t.Errorf("%q in two writes to one descriptor", got)
	}
	hexed, found := hex.EncodeToString([]byte(token)), false
	for i := 0; len(hexed) > 20; i++ {
		r := record.Record{Kind: "sendto", TGID: 5, FD: int64(10 + i), Proto: "udp", Addr: nameServer, Data: query(hexed[:20] + ".example.com")}
		w.Mark(&r)
		found, hexed = found || r.Canary == "variable NPM_TOKEN", hexed[20:]
	}
	if !found {
		t.Error("a value in several queries is not found")
	}
}

// What is remembered is bounded, whatever is opened.
func TestBound(t *testing.T) {
	w := leak.New(set)
	id := value(t, "AWS_ACCESS_KEY_ID")
	for fd := range int64(3 * leak.MaxStreams) {
		r := record.Record{Kind: "write", TGID: 1, FD: fd}
		w.Sent(&r, leak.File, []byte(id[:9]))
	}
	r := record.Record{Kind: "write", TGID: 1, FD: 3*leak.MaxStreams - 1}
	if w.Sent(&r, leak.File, []byte(id[9:])); r.Canary == "" {
		t.Error("the last descriptor is not remembered")
	}
}

func TestSeveralAreListed(t *testing.T) {
	r := record.Record{Kind: "write", FD: 3}
	text := strings.Join(set.Env(), "\n")
	leak.New(set).Sent(&r, leak.Connection, []byte(text))
	for _, name := range []string{"variable NPM_TOKEN", "variable CI_JOB_TOKEN"} {
		if strings.Count(r.Canary, name) != 1 {
			t.Errorf("%s: %q", name, r.Canary)
		}
	}
}

func FuzzAsked(f *testing.F) {
	w := leak.New(set)
	f.Add(query("www.example.com"))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) { w.Asked(&record.Record{}, b) })
}
