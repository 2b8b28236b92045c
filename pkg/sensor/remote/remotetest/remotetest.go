// Package remotetest has recorded trace sessions of real pods, for tests of what
// reads them.
//
//	npm-ci.gz      a pod under stock gVisor: an init container, then an install
//	               of a package whose postinstall script reads a key and connects
//	own-npm-ci.gz  the like under falconer-runsc
package remotetest

import (
	"compress/gzip"
	"embed"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

//go:embed *.gz
var sessions embed.FS

// Packets returns the packets of a recorded session, the handshake first.
func Packets(t testing.TB, name string) (list [][]byte) {
	t.Helper()
	f, err := sessions.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var n uint32 // length of the next packet
		if err := binary.Read(z, binary.LittleEndian, &n); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(z, b); err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
}
