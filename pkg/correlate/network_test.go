package correlate

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
)

func TestNetworkOf(t *testing.T) {
	fields := map[string]any{
		falco.FieldNetProtocol: "https", falco.FieldNetName: "a.example.com", falco.FieldNetSNI: "b.example.com", falco.FieldNetRequest: "POST https://a.example.com/up",
		falco.FieldNetHeaders: []any{"Host: a.example.com"}, falco.FieldNetFirstBytes: "c3RvbGVu", falco.FieldNetSent: json.Number("7"), falco.FieldNetRefused: "bad certificate",
	}
	want := finding.Network{Protocol: "https", Name: "a.example.com", SNI: "b.example.com", Request: "POST https://a.example.com/up",
		Headers: []string{"Host: a.example.com"}, FirstBytes: "c3RvbGVu", Sent: 7, TLSRefused: "bad certificate"}
	if diff := cmp.Diff(want, networkOf(falco.Alert{Fields: fields})); diff != "" {
		t.Error(diff)
	}
	if n := networkOf(falco.Alert{Fields: map[string]any{falco.FieldNetName: "x"}}); n.Protocol != "" {
		t.Errorf("made %+v of an alert that tells of no conversation", n)
	}
}

// What an alert says is bounded, whoever sent it.
func TestNetworkBounds(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	var headers []any
	for range 1000 {
		headers = append(headers, long)
	}
	n := networkOf(falco.Alert{Fields: map[string]any{falco.FieldNetProtocol: long, falco.FieldNetName: long, falco.FieldNetSNI: long, falco.FieldNetRequest: long, falco.FieldNetRefused: long,
		falco.FieldNetHeaders: headers, falco.FieldNetFirstBytes: base64.StdEncoding.EncodeToString([]byte(long)), falco.FieldNetSent: "no number"}})
	if size := networkSize(n); size > 16<<10 || base64.StdEncoding.DecodedLen(len(n.FirstBytes)) > maxFirstBytes+2 || n.FirstBytes == "" || len(n.Headers) != maxHeaders {
		t.Errorf("%d bytes, %d of what was said, %d headers", size, len(n.FirstBytes), len(n.Headers))
	}
	if n := networkOf(falco.Alert{Fields: map[string]any{falco.FieldNetProtocol: "udp", falco.FieldNetFirstBytes: "%%%"}}); n.Protocol != "udp" || n.FirstBytes != "" {
		t.Errorf("decoded %+v", n)
	}
}
