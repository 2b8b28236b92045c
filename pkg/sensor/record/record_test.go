package record_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

func full() record.Record {
	return record.Record{
		Kind: "openat", TimeNS: 1795202629216752395, TID: 12, TGID: 11, PTGID: 1, UID: 1000, GID: 100, Cwd: "/a", Comm: "npm ci",
		HasResult: true, Result: -2, Path: "/root/\xff\xfe", Target: "/b", Raw: "../b", Proto: "tcp", Flags: 0x80000, Mode: 0o4755, FD: 7, FDPath: "socket:[3]",
		Addr: []byte{2, 0, 1, 187, 10, 9, 8, 7}, Data: []byte("x\x00y"), Argv: []string{"sh", "", "-c"}, Env: []string{"A=b"},
		Exe: "/bin/sh", ExeUpper: true, ExeMemfd: true, Stdio: []string{"", "/dev/null", "pipe:[1]"}, ChildTID: 13, ChildTGID: 14, Status: 256,
		Canary: "npm token", CanaryWhere: "connection", CanaryForm: "plain",
	}
}

func TestRoundTrip(t *testing.T) {
	for name, want := range map[string]record.Record{
		"everything":     full(),
		"a zero result":  {Kind: "connect", HasResult: true},
		"nothing at all": {Kind: "x"},
		"a conversation": {Kind: record.KindHeard, TGID: 7, Conversation: &record.Conversation{ID: 3, Protocol: "https", Name: "a.example.com", SNI: "b.example.com",
			Request: "GET https://a.example.com/", Headers: []string{"Host: a.example.com"}, Data: []byte("head\x00body"), Head: 4, Sent: 1 << 40, Refused: "bad certificate"}},
		"silence": {Kind: record.KindHeard, Conversation: &record.Conversation{}},
	} {
		dropped, got, err := record.DecodeFrame(record.AppendFrame(nil, 7, &want))
		if err != nil || dropped != 7 {
			t.Errorf("%s: dropped %d, %v", name, dropped, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestBounds encodes more than fits and expects a frame below MaxFrame with the
// beginning of each string kept.
func TestBounds(t *testing.T) {
	r := full()
	r.Path = strings.Repeat("p", 1<<20)
	r.Data = make([]byte, 1<<20)
	for range 10_000 {
		r.Argv = append(r.Argv, strings.Repeat("a", 5000))
		r.Env = append(r.Env, strings.Repeat("e", 5000))
	}
	b := record.AppendFrame(nil, 0, &r)
	if len(b) > record.MaxFrame {
		t.Fatalf("frame of %d bytes", len(b))
	}
	_, got, err := record.DecodeFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Path) != record.MaxString || len(got.Argv) != record.MaxList || len(got.Data) != record.MaxData {
		t.Errorf("kept %d bytes of path, %d arguments, %d bytes of data", len(got.Path), len(got.Argv), len(got.Data))
	}
}

// A conversation is bounded as a whole record is, and what it calls a head is
// never beyond what it said.
func TestConversationBounds(t *testing.T) {
	r := full()
	long := strings.Repeat("h", 1<<20)
	r.Path, r.Target, r.Raw, r.Exe, r.Cwd, r.Comm = long, long, long, long, long, long
	r.Conversation = &record.Conversation{Name: long, SNI: long, Request: long, Refused: long, Protocol: long, Data: []byte(long), Head: 1 << 40}
	for range 10_000 {
		r.Conversation.Headers = append(r.Conversation.Headers, long)
	}
	b := record.AppendFrame(nil, 0, &r)
	if len(b) > record.MaxFrame {
		t.Fatalf("frame of %d bytes", len(b))
	}
	_, got, err := record.DecodeFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Conversation; len(c.Data) != record.MaxPayload || len(c.Name) != record.MaxString || len(c.Said()) != 0 || got.Argv != nil {
		t.Errorf("kept %d bytes, a name of %d, %d said, %d arguments", len(c.Data), len(c.Name), len(c.Said()), len(got.Argv))
	}
}

func TestMalformed(t *testing.T) {
	r := full()
	good := record.AppendFrame(nil, 0, &r)
	for name, b := range map[string][]byte{"empty": nil, "short header": {1, 2}, "no record": {0, 0, 0, 0}, "cut": good[:len(good)-3], "a bad tag": append(good, 0xff, 0xff)} {
		if _, _, err := record.DecodeFrame(b); !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddrPort(t *testing.T) {
	for _, tt := range []struct {
		addr []byte
		want string
	}{
		{[]byte{2, 0, 1, 187, 10, 9, 8, 7, 0, 0}, "10.9.8.7:443"},
		{append([]byte{10, 0, 0, 53, 0, 0, 0, 0}, append(netip.MustParseAddr("2001:db8::1").AsSlice(), 0, 0, 0, 0)...), "[2001:db8::1]:53"},
		{append([]byte{10, 0, 0, 53, 0, 0, 0, 0}, append(netip.MustParseAddr("::ffff:169.254.169.254").AsSlice(), 0, 0, 0, 0)...), "169.254.169.254:53"},
		{[]byte{1, 0, '/', 'x'}, ""}, {[]byte{2}, ""}, {[]byte{2, 0, 1}, ""}, {nil, ""},
	} {
		r := record.Record{Addr: tt.addr}
		got, ok := r.AddrPort()
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("% x: got %v, %v; want %q", tt.addr, got, ok, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := full()
	f.Add(record.AppendFrame(nil, 3, &r))
	f.Add([]byte{0, 0, 0, 0, 0x0a, 0x01, 'x'})
	r = record.Record{Kind: record.KindHeard, Conversation: &record.Conversation{ID: 1, Headers: []string{"a: b"}, Data: []byte("xy"), Head: 1}}
	f.Add(record.AppendFrame(nil, 0, &r))
	f.Fuzz(func(t *testing.T, b []byte) {
		dropped, r, err := record.DecodeFrame(b)
		if err != nil {
			return
		}
		again := record.AppendFrame(nil, dropped, &r)
		if len(again) > record.MaxFrame {
			t.Fatalf("frame of %d bytes", len(again))
		}
		d2, r2, err := record.DecodeFrame(again)
		if err != nil || d2 != dropped {
			t.Fatalf("again: %v", err)
		}
		// A list's total is bounded when it is written, so compare the second round.
		_, r3, _ := record.DecodeFrame(record.AppendFrame(nil, d2, &r2))
		if diff := cmp.Diff(r2, r3); diff != "" {
			t.Fatal(diff)
		}
		_, _ = r.AddrPort()
	})
}
