package record

import "google.golang.org/protobuf/encoding/protowire"

// Field numbers of a canary that leaves; apart from the others, which follow
// each other.
const (
	fCanary protowire.Number = iota + 64
	fCanaryWhere
	fCanaryForm
)
