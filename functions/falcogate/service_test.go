package falcogate

import (
	"testing"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func TestServiceNeedsNATS(t *testing.T) {
	if _, err := Service(serve.Deps{Context: t.Context(), Env: func(string) string { return "" }}); fault.KindOf(err) != fault.Permanent || err == nil {
		t.Errorf("got %v, want a permanent error", err)
	}
}
