package falcogate

import (
	"net/http"
	"testing"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/serve"
)

func TestServiceNeedsNATS(t *testing.T) {
	if _, err := Service(serve.Deps{Context: t.Context(), Env: func(string) string { return "" }}); fault.KindOf(err) != fault.Permanent || err == nil {
		t.Errorf("got %v, want a permanent error", err)
	}
}

func TestOpenCloudEvents(t *testing.T) {
	for text, want := range map[string]bool{"": false, "true": true, "1": true, "false": false} {
		if got, err := OpenCloudEvents(func(string) string { return text }); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := OpenCloudEvents(func(string) string { return "yes" }); fault.KindOf(err) != fault.Permanent || err == nil {
		t.Errorf("yes: %v", err)
	}
}

// TestIsCloudEvent lets serve open the gate to CloudEvents alone.
func TestIsCloudEvent(t *testing.T) {
	for kind, want := range map[string]bool{"application/json": false, "": false, "text/plain": false, "application/cloudevents+json": true, "application/cloudevents-batch+json": true} {
		if got := IsCloudEvent(http.Header{"Content-Type": {kind}}); got != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
	if !IsCloudEvent(http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"t"}}) {
		t.Error("a binary one is none")
	}
}
