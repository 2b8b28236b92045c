package record_test

import (
	"testing"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// opened is what a build sends most.
func opened() record.Record {
	return record.Record{
		Kind: "openat", TimeNS: 1795202629216752395, TID: 12, TGID: 11, PTGID: 1, Cwd: "/builds/project/node_modules/x/build", Comm: "cc1plus",
		HasResult: true, Result: 5, Path: "/usr/include/x86_64-linux-gnu/c++/12/bits/c++config.h", Flags: 0x80000, FD: -100,
	}
}

// BenchmarkAppend is what a record costs the sandbox's kernel.
func BenchmarkAppend(b *testing.B) {
	r := opened()
	var frame []byte
	b.ReportAllocs()
	for b.Loop() {
		frame = record.AppendFrame(frame[:0], 0, &r)
	}
	b.SetBytes(int64(len(frame)))
}

// BenchmarkDecode is what it costs the sensor to read one.
func BenchmarkDecode(b *testing.B) {
	r := opened()
	frame := record.AppendFrame(nil, 0, &r)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := record.DecodeFrame(frame); err != nil {
			b.Fatal(err)
		}
	}
}
