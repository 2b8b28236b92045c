package sensor_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/falco/rules"
	"github.com/falconer-sec/falconer/pkg/sensor"
	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

const everyConnect = `
- rule: net
  desc: d
  condition: evt.type in (connect, sendto)
  output: "%proc.pid %fd.sip:%fd.sport host=%fd.sip.name"
  priority: NOTICE
`

// TestConversations joins what the sinkhole heard to the alerts of the calls
// behind it.
func TestConversations(t *testing.T) {
	to := func(address string) []byte { return record.Sockaddr(netip.MustParseAddrPort(address)) }
	connect := func(pid int32, proto, address string) record.Record {
		return record.Record{Kind: "connect", TID: pid, TGID: pid, Proto: proto, Addr: to(address)}
	}
	opened := func(pid int32, id int64, address string) record.Record {
		return record.Record{Kind: record.KindOpened, TGID: pid, Proto: "tcp", Addr: to(address), Conversation: &record.Conversation{ID: id}}
	}
	heard := func(id int64, address, request string) record.Record {
		return record.Record{Kind: record.KindHeard, Proto: "tcp", Addr: to(address), Conversation: &record.Conversation{ID: id, Protocol: "http", Request: request, Sent: 9}}
	}
	datagram := func(pid int32, address, said string) record.Record {
		return record.Record{Kind: record.KindHeard, TGID: pid, Proto: "udp", Addr: to(address), Conversation: &record.Conversation{Protocol: "udp", Request: said, Data: []byte(said), Sent: int64(len(said))}}
	}
	named := record.Record{Kind: record.KindNamed, Path: "a.example.com", Addr: to("198.18.4.11:0")}
	const a, b = "198.18.4.11:443", "203.0.113.9:80"
	for _, tt := range []struct {
		name    string
		records []record.Record
		want    []string
	}{
		{"a name", []record.Record{named, connect(2, "tcp", a), opened(2, 1, a), heard(1, a, "GET x")}, []string{"2 198.18.4.11:443 host=a.example.com: GET x"}},
		{"two processes, one address", []record.Record{connect(2, "tcp", b), opened(2, 1, b), connect(3, "tcp", b), opened(3, 2, b), heard(2, b, "of 3"), heard(1, b, "of 2")},
			[]string{"2 203.0.113.9:80 host=<NA>: of 2", "3 203.0.113.9:80 host=<NA>: of 3"}},
		{"two connections of one process", []record.Record{connect(2, "tcp", b), opened(2, 1, b), connect(2, "tcp", b), opened(2, 2, b), heard(1, b, "first"), heard(2, b, "second")},
			[]string{"2 203.0.113.9:80 host=<NA>: first", "2 203.0.113.9:80 host=<NA>: second"}},
		{"a process that has gone", []record.Record{connect(2, "tcp", b), opened(2, 1, b), {Kind: record.KindExit, TID: 2, TGID: 2}, heard(1, b, "last words")}, []string{"2 203.0.113.9:80 host=<NA>: last words"}},
		{"nobody known", []record.Record{connect(2, "tcp", b), heard(0, b, "someone's")}, []string{"2 203.0.113.9:80 host=<NA>: someone's"}},
		{"nothing heard", []record.Record{connect(2, "tcp", b)}, []string{"2 203.0.113.9:80 host=<NA>: "}},
		{"datagrams", []record.Record{connect(2, "udp", b), {Kind: "sendto", TID: 2, TGID: 2, Proto: "udp", Addr: to(b)}, datagram(2, b, "x")}, []string{"2 203.0.113.9:80 host=<NA>: x", "2 203.0.113.9:80 host=<NA>: x"}},
		{"the loopback", []record.Record{connect(2, "tcp", "127.0.0.1:80"), heard(0, "127.0.0.1:80", "never")}, []string{"2 127.0.0.1:80 host=<NA>: "}},
		{"unasked for", []record.Record{heard(7, b, "x"), datagram(99, b, "y"), {Kind: record.KindOpened}, {Kind: record.KindHeard}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, sum := converse(t, append([]record.Record{start(), fork(1, 2), fork(1, 3)}, tt.records...))
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" || len(sum.Incomplete) > 0 {
				t.Errorf("%s\nincomplete: %q", diff, sum.Incomplete)
			}
		})
	}
}

// Alerts that wait are bounded, none is lost, and what was not kept is said.
func TestConversationsAreBounded(t *testing.T) {
	records := []record.Record{start(), fork(1, 2)}
	for i := range sensor.MaxPerRule {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 80)
		records = append(records, record.Record{Kind: "connect", TID: 2, TGID: 2, Proto: "tcp", Addr: record.Sockaddr(addr)})
	}
	records = append(records, record.Record{Kind: record.KindUnheard, HasResult: true, Result: 7})
	got, sum := converse(t, records)
	if len(got) != sensor.MaxPerRule || len(sum.Incomplete) != 1 || !strings.Contains(sum.Incomplete[0], "7 bytes") {
		t.Errorf("%d alerts, incomplete %q", len(got), sum.Incomplete)
	}
}

// converse hands records to a sensor whose sandbox has a sinkhole.
func converse(t *testing.T, records []record.Record) (got []string, sum sensor.Summary) {
	t.Helper()
	set, err := rules.Load(rules.SensorFields(), rules.File{Name: "t.yaml", Data: []byte(everyConnect)})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	s := sensor.New(sensor.Config{Container: "c", Rules: set, Manager: manager{}, Alerts: m, Sinkhole: true, Log: slog.New(slog.DiscardHandler)})
	s.Open(t.Context())
	for _, r := range records {
		s.Take(t.Context(), &r)
	}
	sum = s.Close("")
	for _, alert := range m.alerts {
		_, text, _ := strings.Cut(alert.Output, "Notice ")
		got = append(got, fmt.Sprintf("%s: %s", text, alert.Field(falco.FieldNetRequest)))
	}
	return got, sum
}
