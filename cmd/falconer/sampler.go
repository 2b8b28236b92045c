package main

import (
	_ "unsafe" // for go:linkname

	_ "github.com/nats-io/nats-server/v2/server/pse" // declares the variable
)

// procStatFile is the file that nats-server's CPU sampler reads once a second,
// from a timer that its package starts at init, in every process of this
// binary. gVisor's kernel is one of them, and its seccomp filters kill it for
// opening a file.
//
//go:linkname procStatFile github.com/nats-io/nats-server/v2/server/pse.procStatFile
var procStatFile string

// stopSampler ends the sampler at its next tick: a name with a NUL byte is
// refused before any system call, and after an error it does not go on. Nobody
// reads its figure here.
func stopSampler() { procStatFile = "\x00" }
