package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/natsd"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const scanA, scanB = scan.ID("9b2f6a4e-3c1d-5e8f-a7b6-0123456789ab"), scan.ID("1b2f6a4e-3c1d-5e8f-a7b6-0123456789ab")

// serve starts a JetStream server in dir and connects to it.
func serve(t testing.TB, dir string) *nats.Conn {
	t.Helper()
	s, err := natsd.Start(natsd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return nc
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), serve(t, t.TempDir()), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func alert(id scan.ID, rule string, n int) falco.Alert {
	a := falco.Alert{
		Rule: rule, Output: fmt.Sprintf("%s happened", rule), Priority: finding.Warning, Hostname: "h",
		Time:   time.Date(2026, 11, 20, 19, 0, 0, n, time.UTC),
		Fields: map[string]any{"evt.num": json.Number(fmt.Sprint(n))},
	}
	if id != "" {
		a.Fields[falco.FieldScanID] = string(id)
	}
	return a
}

func items(id scan.ID, rule string, from, to int) []Item {
	var list []Item
	for i := from; i < to; i++ {
		list = append(list, Item{Alert: alert(id, rule, i)})
	}
	return list
}

func put(t testing.TB, s *Store, list []Item) map[Status]int {
	t.Helper()
	outcomes, err := s.Put(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[Status]int{}
	for _, o := range outcomes {
		counts[o.Status]++
	}
	return counts
}

func TestPutStoresOnce(t *testing.T) {
	s := open(t, Config{})
	if got := put(t, s, items(scanA, "r", 0, 600)); got[Stored] != 600 {
		t.Fatalf("first time: %v", got)
	}
	if got := put(t, s, items(scanA, "r", 0, 600)); got[Duplicate] != 600 {
		t.Fatalf("second time: %v", got)
	}
	var n int
	for subject := range totals(t, s, scanA) {
		if err := s.Read(t.Context(), subject, 0, func(e Entry) error {
			if e.Err != nil || e.Digest != e.Alert.Digest() || e.Alert.Time.Nanosecond() != n {
				t.Errorf("entry %d is out of order or unreadable: %+v", n, e)
			}
			n++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n != 600 {
		t.Errorf("read %d alerts, want 600", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPutFromManyCallers(t *testing.T) {
	s := open(t, Config{InFlight: 64 << 10})
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			if _, err := s.Put(t.Context(), items(scanA, "r", i, i+1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := total(t, s, scanA); got != 500 {
		t.Errorf("%d stored, want 500", got)
	}
}

func totals(t testing.TB, s *Store, id scan.ID) map[string]uint64 {
	t.Helper()
	m, _, err := s.Totals(t.Context(), ScanSubject(id))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func total(t testing.TB, s *Store, id scan.ID) (n uint64) {
	t.Helper()
	for _, v := range totals(t, s, id) {
		n += v
	}
	return n
}

func TestCapIsCountedPerScanAndRule(t *testing.T) {
	s := open(t, Config{MaxPerRule: 10})
	if got := put(t, s, items(scanA, "loud", 0, 25)); got[Stored] != 10 || got[Capped] != 15 {
		t.Errorf("loud rule: %v", got)
	}
	if got := put(t, s, items(scanA, "quiet", 0, 5)); got[Stored] != 5 {
		t.Errorf("another rule of the same scan: %v", got)
	}
	if got := put(t, s, items(scanB, "loud", 0, 5)); got[Stored] != 5 {
		t.Errorf("the same rule in another scan: %v", got)
	}
	if got := must(s.Capped(t.Context(), scanA)); got != (Overflow{Judged: 15}) {
		t.Errorf("counts %+v, want 15 judged", got)
	}
	if got := must(s.Capped(t.Context(), scanB)); got != (Overflow{}) {
		t.Errorf("counts of the other scan: %+v", got)
	}
	low := alert(scanA, "loud", 99)
	low.Priority = finding.Notice
	put(t, s, []Item{{Alert: low}})
	if got := must(s.Capped(t.Context(), scanA)); got != (Overflow{Judged: 15, Noted: 1}) {
		t.Errorf("counts %+v, want 15 judged and 1 noted", got)
	}
}

func TestFirstOverflowIsMarkedBeforePutReturns(t *testing.T) {
	dir := t.TempDir()
	nc := serve(t, dir)
	s := must(Open(t.Context(), nc, Config{MaxPerRule: 1}))
	put(t, s, items(scanA, "r", 0, 2))
	// A second Store stands for the process after a kill: it has none of the
	// first one's memory.
	again := must(Open(t.Context(), nc, Config{MaxPerRule: 1}))
	if got := must(again.Capped(t.Context(), scanA)); got.Judged != 1 {
		t.Errorf("after a restart %+v, want 1 judged", got)
	}
	for _, s := range []*Store{s, again} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSinkForcesTheScan(t *testing.T) {
	s := open(t, Config{MaxPerRule: 3})
	list := []falco.Alert{alert(scanB, "r", 1), alert("", "r", 2), alert("", "r", 3), alert("", "r", 4), alert("", "r", 5)}
	if err := (Sink{s}).Put(t.Context(), scanA, list); err != nil {
		t.Fatal(err)
	}
	if got := total(t, s, scanA); got != 3 {
		t.Errorf("%d stored, want 3", got)
	}
	if got := must(s.Capped(t.Context(), scanA)); got.Judged != 2 {
		t.Errorf("capped %+v, want 2", got)
	}
	if err := (Sink{s}).Put(t.Context(), "*", list); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a wildcard for a scan ID: %v", err)
	}
}

func TestPurge(t *testing.T) {
	s := open(t, Config{MaxPerRule: 3})
	put(t, s, items(scanA, "r", 0, 5))
	put(t, s, items(scanB, "r", 0, 2))
	if err := s.Purge(t.Context(), scanA); err != nil {
		t.Fatal(err)
	}
	if a, b, c := total(t, s, scanA), total(t, s, scanB), must(s.Capped(t.Context(), scanA)); a != 0 || b != 2 || c != (Overflow{}) {
		t.Errorf("left: %d of the purged scan, %d of the other, %+v", a, b, c)
	}
	if got := put(t, s, items(scanA, "r", 10, 13)); got[Stored] != 3 {
		t.Errorf("after the purge: %v", got)
	}
}

func TestStoreFull(t *testing.T) {
	s := open(t, Config{MaxBytes: 64 << 10})
	var failed error
	for i := range 1000 {
		if _, failed = s.Put(t.Context(), items(scanA, fmt.Sprint("r", i), i, i+1)); failed != nil {
			break
		}
	}
	if fault.KindOf(failed) != fault.Transient || failed == nil {
		t.Errorf("a full store: %v, want a transient error", failed)
	}
	if got := must(s.Capped(t.Context(), scanA)); got != (Overflow{}) {
		t.Errorf("a full store counted as capped: %+v", got)
	}
}

func TestPutEndsWithItsContext(t *testing.T) {
	s := open(t, Config{InFlight: 1})
	if err := s.room.Acquire(t.Context(), 1); err != nil { // somebody else's batch hangs
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	outcomes, err := s.Put(ctx, items(scanA, "r", 0, 1))
	if fault.KindOf(err) != fault.Transient || err == nil || outcomes[0].Status != Failed {
		t.Errorf("got %v, %v", outcomes, err)
	}
	s.room.Release(1)
}

func TestOtherSubjectsCannotEscape(t *testing.T) {
	for _, name := range []string{">", "*", "a.b", "a b", "", "Ä", "x\r\ny", "_"} {
		a := alert("", "r", 1)
		a.Fields["k8s.ns.name"], a.Fields["k8s.pod.name"] = name, name
		s := subjectOf(a, "", falco.SandboxNamespace)
		if n := len(splitTokens(s)); n != 5 {
			t.Errorf("name %q makes subject %q of %d tokens", name, s, n)
		}
		filter, id := groupOf(s)
		if filter != OtherSubject(name, name) || id != "" {
			t.Errorf("group of %q is %q, %q", s, filter, id)
		}
	}
}

func splitTokens(s string) (tokens []string) {
	start := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			tokens = append(tokens, s[start:i])
			start = i + 1
		}
	}
	for _, tok := range tokens {
		for _, r := range tok {
			if r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
				return nil
			}
		}
		if tok == "" {
			return nil
		}
	}
	return tokens
}

func TestGetSkipsWhatIsGone(t *testing.T) {
	s := open(t, Config{})
	put(t, s, items(scanA, "r", 0, 100))
	if err := s.Drop(t.Context(), ScanSubject(scanA), 50); err != nil {
		t.Fatal(err)
	}
	seqs := make([]uint64, 0, 120)
	for i := uint64(1); i <= 120; i++ {
		seqs = append(seqs, i)
	}
	got := map[uint64]bool{}
	if err := s.Get(t.Context(), seqs, func(e Entry) error { got[e.Seq] = true; return e.Err }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 50 || got[50] || !got[51] || !got[100] {
		t.Errorf("got %d entries", len(got))
	}
}
