package remote_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"

	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
	"github.com/falconer-sec/falconer/pkg/sensor/remote/remotetest"
)

// pair returns both ends of a packet connection.
func pair(t testing.TB) (sandbox, sensor *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sandbox, err = net.DialUnix("unixpacket", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	if sensor, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = sandbox.Close(), sensor.Close() })
	return sandbox, sensor
}

// play sends packets as a sandbox's kernel, the handshake first, and returns
// what the session yields until its end.
func play(t testing.TB, list [][]byte) (got []remote.Message, s *remote.Session, end error) {
	t.Helper()
	sandbox, sensor := pair(t)
	go func() {
		defer sandbox.Close()
		for i, b := range list {
			if _, err := sandbox.Write(b); err != nil {
				return
			}
			if i == 0 {
				_, _ = sandbox.Read(make([]byte, 64))
			}
		}
	}()
	s, err := remote.Accept(sensor, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	for {
		m, err := s.Next()
		if err != nil {
			return got, s, err
		}
		got = append(got, m)
	}
}

func TestRecordedSession(t *testing.T) {
	list := remotetest.Packets(t, "npm-ci.gz")
	got, s, end := play(t, list)
	if !errors.Is(end, io.EOF) || s.Dropped() != 0 || s.Ours() {
		t.Fatalf("ended with %v, %d dropped", end, s.Dropped())
	}
	if n := len(got) + int(s.Passed()); n != len(list)-1 {
		t.Errorf("%d of %d messages accounted for", n, len(list)-1)
	}
	kinds, containers := map[string]int{}, map[string]bool{}
	var key, address, script bool
	for _, m := range got {
		kinds[m.Record.Kind]++
		containers[m.Container] = true
		r := m.Record
		key = key || r.Kind == "openat" && r.Path == "/home/build/.ssh/id_rsa" && r.HasResult && r.Result >= 0 && r.Comm == "node"
		if ap, ok := r.AddrPort(); ok && r.Kind == "connect" {
			address = address || ap.String() == "203.0.113.9:443"
		}
		if r.Kind == record.KindExec && strings.Join(r.Argv, " ") == "sh -c node collect.js" {
			script = r.Cwd == "/builds/project/node_modules/left-pat" && len(r.Env) > 0 && r.Comm == "sh"
		}
		if r.Kind == "openat" && !filepath.IsAbs(r.Path) {
			t.Errorf("path %q of %q in %q is not absolute", r.Path, r.Raw, r.Cwd)
		}
		for _, e := range r.Env {
			if strings.HasPrefix(e, "HOME=") {
				t.Errorf("%q is kept, which no rule looks at", e)
			}
		}
	}
	if !key || !address || !script {
		t.Errorf("key %v, address %v, script %v", key, address, script)
	}
	if len(containers) != 3 || kinds[record.KindStart] != 3 || kinds[record.KindClone] == 0 || kinds[record.KindExit] == 0 {
		t.Errorf("%d containers, %v", len(containers), kinds)
	}
}

// message makes a packet of gVisor's remote sink.
func message(t testing.TB, typ uint16, dropped uint32, m proto.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(header(8, typ, dropped), body...)
}

func header(size, typ uint16, dropped uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, size)
	b = binary.LittleEndian.AppendUint16(b, typ)
	return binary.LittleEndian.AppendUint32(b, dropped)
}

func TestDecode(t *testing.T) {
	ctx := &pb.ContextData{ContainerId: "c", Cwd: "/w", ThreadId: 4, ThreadGroupId: 4, ProcessName: "node", Credentials: &pb.Credentials{EffectiveUid: 7}}
	base := record.Record{TID: 4, TGID: 4, UID: 7, Cwd: "/w", Comm: "node"}
	with := func(f func(r *record.Record)) *record.Record { r := base; f(&r); return &r }
	open := pb.MessageType_MESSAGE_SYSCALL_OPEN
	for name, tt := range map[string]struct {
		typ  pb.MessageType
		m    proto.Message
		want *record.Record // nil where there is nothing for a rule
	}{
		"open relative to the working directory": {open, &pb.Open{ContextData: ctx, Sysno: 257, Fd: -100, Pathname: "../k", Exit: &pb.Exit{Result: 5}},
			with(func(r *record.Record) {
				r.Kind, r.Path, r.Raw, r.FD, r.HasResult, r.Result = "openat", "/k", "../k", 5, true, 5
			})},
		"open relative to a directory": {open, &pb.Open{ContextData: ctx, Sysno: 257, Fd: 3, FdPath: "/d", Pathname: "k", Exit: &pb.Exit{Errorno: 2}},
			with(func(r *record.Record) {
				r.Kind, r.Path, r.Raw, r.FD, r.HasResult, r.Result = "openat", "/d/k", "k", 3, true, -2
			})},
		"open relative to a directory that is not known": {open, &pb.Open{ContextData: ctx, Sysno: 257, Fd: 3, FdPath: "[err: FD not found]", Pathname: "k"},
			with(func(r *record.Record) { r.Kind, r.Path, r.FD = "openat", "k", 3 })},
		"creat":                      {open, &pb.Open{ContextData: ctx, Sysno: 85, Pathname: "/k"}, with(func(r *record.Record) { r.Kind, r.Path, r.Flags = "creat", "/k", 0o1101 })},
		"open of an unknown call":    {open, &pb.Open{ContextData: ctx, Sysno: 999, Pathname: "/k"}, nil},
		"a thread":                   {pb.MessageType_MESSAGE_SENTRY_CLONE, &pb.CloneInfo{ContextData: ctx, CreatedThreadId: 5, CreatedThreadGroupId: 4}, nil},
		"a thread's end":             {pb.MessageType_MESSAGE_SENTRY_TASK_EXIT, &pb.TaskExit{ContextData: &pb.ContextData{ContainerId: "c", ThreadId: 5, ThreadGroupId: 4}}, nil},
		"a type that nothing is for": {pb.MessageType_MESSAGE_SYSCALL_PIPE, &pb.Pipe{ContextData: ctx}, nil},
		"a type from the future":     {9999, &pb.Pipe{}, nil},
		"accept4": {pb.MessageType_MESSAGE_SYSCALL_ACCEPT, &pb.Accept{ContextData: ctx, Sysno: 288, Fd: 3, Address: []byte{1, 0}},
			with(func(r *record.Record) { r.Kind, r.FD, r.Addr = "accept4", 3, []byte{1, 0} })},
		"one of our own": {1000, wrapperspb.Bytes((&record.Record{Kind: "unlink", Container: "c", Path: "/k"}).Append(nil)), &record.Record{Kind: "unlink", Container: "c", Path: "/k"}},
	} {
		t.Run(name, func(t *testing.T) {
			dropped, m, ok, err := remote.Decode(message(t, uint16(tt.typ), 3, tt.m))
			if err != nil || ok != (tt.want != nil) || dropped != 3 {
				t.Fatalf("ok %v, dropped %d, error %v", ok, dropped, err)
			}
			if ok && (m.Container != "c" || cmp.Diff(*tt.want, m.Record) != "") {
				t.Errorf("container %q\n%s", m.Container, cmp.Diff(*tt.want, m.Record))
			}
		})
	}
}

// TestWhatIsWrittenInASandbox takes a program that is on neither layer of the
// root for one that was written: a volume is neither.
func TestWhatIsWrittenInASandbox(t *testing.T) {
	for _, tt := range []struct {
		path         string
		lower, upper bool
		want         bool
	}{
		{"/usr/bin/node", true, false, false}, {"/usr/bin/node", false, false, false}, {"/tmp/x", true, false, false},
		{"/usr/bin/x", false, true, true}, {"/builds/project/x", false, false, true},
	} {
		_, m, _, err := remote.Decode(message(t, uint16(pb.MessageType_MESSAGE_SENTRY_EXEC), 0,
			&pb.ExecveInfo{BinaryPath: tt.path, BinaryOverlayfsLower: tt.lower, BinaryOverlayfsUpper: tt.upper}))
		if err != nil || m.Record.ExeUpper != tt.want {
			t.Errorf("%+v: %v %v", tt, m.Record.ExeUpper, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":              {},
		"half a header":        header(8, 7, 0)[:5],
		"a header too small":   header(4, 7, 0),
		"a header too large":   header(9, 7, 0),
		"a broken message":     append(header(8, 7, 0), 0xff, 0xff),
		"a broken own record":  append(header(8, 1000, 0), 0xff),
		"an own record of not": message(t, 1000, 0, wrapperspb.Bytes([]byte{0xff})),
	} {
		if _, _, _, err := remote.Decode(b); !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 20_000)
	argv := make([]string, 5000)
	for i := range argv {
		argv[i] = long[:30]
	}
	b := message(t, uint16(pb.MessageType_MESSAGE_SENTRY_EXEC), 0, &pb.ExecveInfo{Argv: argv, BinaryPath: long, Env: []string{"npm_lifecycle_event=" + long, "OTHER=1"}, ContextData: &pb.ContextData{Cwd: long}})
	_, m, _, err := remote.Decode(b)
	r := m.Record
	if err != nil || len(r.Argv) != record.MaxList || len(r.Exe) != record.MaxString || len(r.Cwd) != record.MaxString || len(r.Env) != 1 || len(r.Env[0]) != record.MaxString {
		t.Errorf("%d arguments, exe of %d bytes, %d variables: %v", len(r.Argv), len(r.Exe), len(r.Env), err)
	}
}

func TestHandshake(t *testing.T) {
	for name, tt := range map[string]struct {
		hello, answer []byte
	}{
		"gVisor":               {[]byte{8, 1}, []byte{8, 1}},
		"a later gVisor":       {[]byte{8, 2, 18, 1, 'x'}, []byte{8, 1}},
		"unknown fields first": {[]byte{18, 1, 'x', 8, 1}, []byte{8, 1}},
		"Falconer":             {record.Hello, record.Hello},
		"version 0":            {[]byte{8, 0}, nil},
		"no version":           {[]byte{18, 1, 'x'}, nil},
		"garbage":              {[]byte{0xff, 0xff, 0xff}, nil},
		"another Falconer":     {[]byte("FLCN\x09"), nil},
	} {
		sandbox, sensor := pair(t)
		if _, err := sandbox.Write(tt.hello); err != nil {
			t.Fatal(err)
		}
		_, err := remote.Accept(sensor, time.Second)
		if (err == nil) != (tt.answer != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if tt.answer == nil {
			continue
		}
		b := make([]byte, 64)
		if n, _ := sandbox.Read(b); !bytes.Equal(b[:n], tt.answer) {
			t.Errorf("%s is answered with %x", name, b[:n])
		}
	}
	_, sensor := pair(t)
	if _, err := remote.Accept(sensor, 10*time.Millisecond); err == nil {
		t.Error("a sandbox that says nothing is waited for without end")
	}
}

// TestFalconersKernel reads records of our own runtime's sink.
func TestFalconersKernel(t *testing.T) {
	r := record.Record{Kind: "rename", Container: "c1", Path: "/a", Target: "/b", TGID: 3}
	got, s, end := play(t, [][]byte{record.Hello, record.AppendFrame(nil, 2, &r)})
	if !errors.Is(end, io.EOF) || s.Dropped() != 2 || !s.Ours() {
		t.Fatalf("%v, %d dropped", end, s.Dropped())
	}
	if d := cmp.Diff([]remote.Message{{Container: "c1", Record: r}}, got); d != "" {
		t.Error(d)
	}
}

func TestSessionEndsWithWhatItCannotRead(t *testing.T) {
	for name, b := range map[string][]byte{"garbage": []byte("garbage"), "too long": append(header(8, 9999, 0), make([]byte, remote.MaxMessage)...)} {
		sandbox, sensor := pair(t)
		if err := sandbox.SetWriteBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		_, err := sandbox.Write([]byte{8, 1})
		s, aerr := remote.Accept(sensor, time.Second)
		if err = errors.Join(err, aerr); err != nil {
			t.Fatal(err)
		}
		if _, err := sandbox.Write(b); err != nil {
			t.Fatal(name, err)
		}
		if _, err := s.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnwatched(t *testing.T) {
	set, err := shipped.Load("")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(remote.Unwatched(set, remote.StockPoints()), "\n")
	for _, want := range []string{"Memory file created", "openat2", "sends without a connection", "not UTF-8"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	for _, not := range []string{"Credential file read", "Connection off the registry", "Dropped binary executed"} {
		if strings.Contains(got, not) {
			t.Errorf("%q can match, but is in:\n%s", not, got)
		}
	}
	more := strings.Join(remote.Unwatched(set, append(remote.StockPoints(), "syscall/ptrace/enter", "syscall/bind/exit")), "\n")
	if strings.Contains(more, "Process injection") || strings.Contains(more, "Listener opened") {
		t.Errorf("with more points:\n%s", more)
	}
}

func TestCheckPoints(t *testing.T) {
	if unknown, missing := remote.CheckPoints(remote.StockPoints()); len(unknown)+len(missing) > 0 {
		t.Errorf("stock points: unknown %q, missing %q", unknown, missing)
	}
	unknown, missing := remote.CheckPoints([]string{"syscall/nothing/exit", "sentry/clone", "sentry/execve", "sentry/task_exit"})
	if d := cmp.Diff([][]string{{"syscall/nothing/exit"}, {"container/start"}}, [][]string{unknown, missing}); d != "" {
		t.Error(d)
	}
}

func FuzzDecode(f *testing.F) {
	for i, b := range remotetest.Packets(f, "npm-ci.gz") {
		if i > 0 && i%37 == 0 {
			f.Add(b)
		}
	}
	f.Add(header(8, 1000, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, m, ok, err := remote.Decode(b)
		if err != nil && !errors.Is(err, record.ErrMalformed) {
			t.Errorf("%v does not wrap ErrMalformed", err)
		}
		if ok && m.Record.Kind == "" {
			t.Error("a record without a kind")
		}
		if n := len(m.Record.Append(nil)); n > record.MaxFrame {
			t.Errorf("a record of %d bytes", n)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	list := remotetest.Packets(b, "npm-ci.gz")[1:]
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, _, _, err := remote.Decode(list[n%len(list)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
}
