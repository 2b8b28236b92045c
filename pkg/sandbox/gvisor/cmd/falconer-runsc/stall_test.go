package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
)

// TestSensorThatDoesNotRead holds a pod up for as long as its session says, and
// no longer: it can be killed, and the sensor learns of what it missed.
func TestSensorThatDoesNotRead(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sessions := make(chan *remote.Session, 1)
	go func() {
		defer close(sessions)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if s, err := remote.Accept(conn, 10*time.Second); err == nil {
			sessions <- s
		}
	}()
	session := filepath.Join(dir, "trace.json")
	const text = `{"trace_session":{"name":"Default","sinks":[{"name":"remote","config":{"endpoint":"ENDPOINT","retries":500,"backoff_max":"2ms"}}]}}`
	if err := os.WriteFile(session, []byte(strings.Replace(text, "ENDPOINT", l.Addr().String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPod(t, session)
	p.create("sandbox", "", []string{"/usr/bin/sleep", "600"}, nil, nil)
	p.start("sandbox")
	s, ok := <-sessions
	if !ok {
		t.Fatal("the kernel did not greet")
	}
	p.create("main", "sandbox", []string{"/bin/sh", "-c", `i=0; while [ $i -lt 500000 ]; do : >"/tmp/$i"; i=$((i+1)); done`}, nil, nil)
	p.start("main")
	status := p.wait("main")
	time.Sleep(3 * time.Second) // the socket is full, the script waits, and then no longer
	p.do("kill", "main", "9")
	read := make(chan []string)
	go func() {
		var kinds []string
		for {
			m, err := s.Next()
			if err != nil {
				read <- kinds
				return
			}
			if m.Container == "main" {
				kinds = append(kinds, m.Record.Kind)
			}
		}
	}()
	if code := p.ended(status); code != 128+9 {
		t.Errorf("ended with %d", code)
	}
	p.do("delete", "main")
	p.end("sandbox")
	kinds := <-read
	if s.Dropped() == 0 || len(kinds) == 0 || kinds[len(kinds)-1] != record.KindExit {
		t.Errorf("%d dropped, %d records", s.Dropped(), len(kinds))
	}
}
