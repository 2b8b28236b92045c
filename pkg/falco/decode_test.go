package falco

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// captures are real requests of Falcosidekick beside the lines Falco wrote.
const captures = "../../functions/falcogate/testdata/captures"

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func folders(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob(captures + "/*")
	if err != nil || len(dirs) < 20 {
		t.Fatalf("captures: %d folders, %v", len(dirs), err)
	}
	return dirs
}

func TestCapturesDigestAlike(t *testing.T) {
	seen := map[string]string{}
	for _, dir := range folders(t) {
		own, err := Decode(read(t, filepath.Join(dir, "falco.json")))
		if err != nil {
			t.Fatalf("%s: falco.json: %v", dir, err)
		}
		sent, err := Decode(read(t, filepath.Join(dir, "body.json")))
		if err != nil {
			t.Fatalf("%s: body.json: %v", dir, err)
		}
		// A resend changes uuid only; a rewrite may change key and tag order.
		var loose map[string]any
		if err := json.Unmarshal(read(t, filepath.Join(dir, "falco.json")), &loose); err != nil {
			t.Fatal(err)
		}
		loose["uuid"] = "00000000-0000-4000-8000-000000000000"
		if tags, ok := loose["tags"].([]any); ok {
			for i, j := 0, len(tags)-1; i < j; i, j = i+1, j-1 {
				tags[i], tags[j] = tags[j], tags[i]
			}
		}
		b, err := json.Marshal(loose)
		if err != nil {
			t.Fatal(err)
		}
		resent, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		digest := own.Digest()
		if sent.Digest() != digest || resent.Digest() != digest {
			t.Errorf("%s: digests differ: falco %s, falcosidekick %s, resend %s", dir, digest, sent.Digest(), resent.Digest())
		}
		if other, dup := seen[digest]; dup {
			t.Errorf("%s and %s digest alike", dir, other)
		}
		seen[digest] = dir
		if own.Hostname != "vm" || own.Source != "syscall" || own.Field("evt.num") == "" {
			t.Errorf("%s: lost fields: %+v", dir, own)
		}
	}
}

func TestDigestTellsAlertsApart(t *testing.T) {
	base := func() Alert {
		return Alert{Rule: "r", Output: "o", Hostname: "h", Time: time.Unix(1, 5), Fields: map[string]any{"evt.num": json.Number("7")}}
	}
	changes := map[string]func(*Alert){
		"rule":     func(a *Alert) { a.Rule = "s" },
		"output":   func(a *Alert) { a.Output = "p" },
		"hostname": func(a *Alert) { a.Hostname = "i" },
		"time":     func(a *Alert) { a.Time = a.Time.Add(1) },
		"evt.num":  func(a *Alert) { a.Fields["evt.num"] = json.Number("8") },
		"shifted":  func(a *Alert) { a.Rule, a.Output = "ro", "" },
	}
	for name, change := range changes {
		a := base()
		change(&a)
		if a.Digest() == base().Digest() {
			t.Errorf("a changed %s leaves the digest as it was", name)
		}
	}
	same := map[string]func(*Alert){
		"tags":          func(a *Alert) { a.Tags = []string{"x"} },
		"other field":   func(a *Alert) { a.Fields["proc.cmdline"] = "cut[...]" },
		"time zone":     func(a *Alert) { a.Time = a.Time.In(time.FixedZone("x", 3600)) },
		"number's type": func(a *Alert) { a.Fields["evt.num"] = int64(7) },
	}
	for name, change := range same {
		a := base()
		change(&a)
		if a.Digest() != base().Digest() {
			t.Errorf("a changed %s changes the digest", name)
		}
	}
}

func TestDigestWithoutOutputUsesFields(t *testing.T) {
	a := Alert{Rule: "r", Fields: map[string]any{"proc.pid": json.Number("1")}}
	b := Alert{Rule: "r", Fields: map[string]any{"proc.pid": json.Number("2")}}
	if a.Digest() == b.Digest() {
		t.Error("two alerts without output digest alike")
	}
}

func TestDecodeTolerates(t *testing.T) {
	at := time.Date(2026, 11, 20, 19, 23, 54, 563820650, time.UTC)
	want := func(change func(*Alert)) Alert {
		a := Alert{Rule: "r", Output: "o", Priority: finding.Warning, Time: at, Fields: map[string]any{}}
		if change != nil {
			change(&a)
		}
		return a
	}
	const tm = `"time":"2026-11-20T19:23:54.56382065Z"`
	tests := map[string]struct {
		in   string
		want Alert
	}{
		"least":               {`{"rule":"r","output":"o","priority":"Warning",` + tm + `}`, want(nil)},
		"nulls":               {`{"rule":"r","output":"o","priority":"warning",` + tm + `,"output_fields":null,"tags":null,"source":null,"hostname":null,"uuid":null}`, want(nil)},
		"priority number":     {`{"rule":"r","output":"o","priority":4,` + tm + `}`, want(nil)},
		"priority digits":     {`{"rule":"r","output":"o","priority":"4",` + tm + `}`, want(nil)},
		"message for output":  {`{"rule":"r","message":"o","priority":"Warning",` + tm + `}`, want(nil)},
		"tags as text":        {`{"rule":"r","output":"o","priority":"Warning","tags":"a, b",` + tm + `}`, want(func(a *Alert) { a.Tags = []string{"a", "b"} })},
		"odd tags":            {`{"rule":"r","output":"o","priority":"Warning","tags":["a",1,null,{"b":2}],` + tm + `}`, want(func(a *Alert) { a.Tags = []string{"a"} })},
		"time in nanoseconds": {`{"rule":"r","output":"o","priority":"Warning","time":1795202634563820650}`, want(nil)},
		"time in evt.time only": {`{"rule":"r","output":"o","priority":"Warning","output_fields":{"evt.time":1795202634563820650}}`,
			want(func(a *Alert) { a.Fields["evt.time"] = json.Number("1795202634563820650") })},
		"time once a float": {`{"rule":"r","output":"o","priority":"Warning","time":1.79520263456382065e+18}`, want(nil)},
		"time with zone":    {`{"rule":"r","output":"o","priority":"Warning","time":"2026-11-20T21:23:54.563820650+02:00"}`, want(nil)},
		"hostname in fields": {`{"rule":"r","output":"o","priority":"Warning","output_fields":{"evt.hostname":"n1"},` + tm + `}`,
			want(func(a *Alert) { a.Hostname = "n1"; a.Fields["evt.hostname"] = "n1" })},
		"duplicate keys":  {`{"rule":"x","rule":"r","output":"o","priority":"Warning",` + tm + `}`, want(nil)},
		"not UTF-8":       {"{\"rule\":\"r\",\"output\":\"o\xff\",\"priority\":\"Warning\"," + tm + "}", want(func(a *Alert) { a.Output = "o\ufffd" })},
		"trailing spaces": {`{"rule":"r","output":"o","priority":"Warning",` + tm + "}\r\n ", want(nil)},
		"big numbers": {`{"rule":"r","output":"o","priority":"Warning","output_fields":{"n":9007199254740993,"f":1e400},` + tm + `}`,
			want(func(a *Alert) { a.Fields["n"] = json.Number("9007199254740993"); a.Fields["f"] = json.Number("1e400") })},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	const rest = `,"output":"o","priority":"Error","time":"2026-11-20T19:23:54Z"}`
	many := strings.Repeat(`"t",`, MaxTags) + `"t"`
	tests := map[string]struct {
		in   string
		says string
		kind fault.Kind
	}{
		"empty":            {``, "empty", fault.Invalid},
		"list":             {`[1]`, "array", fault.Invalid},
		"null":             {`null`, "rule", fault.Invalid},
		"cut":              {`{"rule":"r"`, "not JSON", fault.Invalid},
		"two":              {`{"rule":"r"` + rest + `{}`, "after", fault.Invalid},
		"rule number":      {`{"rule":1` + rest, "rule is a number", fault.Invalid},
		"rule missing":     {`{"x":1` + rest, "rule", fault.Invalid},
		"output list":      {`{"rule":"r","priority":"Error","output":[],"time":"2026-11-20T19:23:54Z"}`, "output", fault.Invalid},
		"priority missing": {`{"rule":"r","time":"2026-11-20T19:23:54Z"}`, "priority", fault.Invalid},
		"priority unknown": {`{"rule":"r","priority":"Loud","time":"2026-11-20T19:23:54Z"}`, "priority", fault.Invalid},
		"priority 9":       {`{"rule":"r","priority":9,"time":"2026-11-20T19:23:54Z"}`, "priority", fault.Invalid},
		"priority object":  {`{"rule":"r","priority":{},"time":"2026-11-20T19:23:54Z"}`, "priority", fault.Invalid},
		"time missing":     {`{"rule":"r","priority":"Error"}`, "time", fault.Invalid},
		"time words":       {`{"rule":"r","priority":"Error","time":"yesterday"}`, "time", fault.Invalid},
		"time huge":        {`{"rule":"r","priority":"Error","time":1e99}`, "time", fault.Invalid},
		"time boolean":     {`{"rule":"r","priority":"Error","time":true}`, "time", fault.Invalid},
		"time year 9999":   {`{"rule":"r","priority":"Error","time":"9999-01-01T00:00:00Z"}`, "9999", fault.Invalid},
		"fields list":      {`{"rule":"r","output_fields":[]` + rest, "output_fields", fault.Invalid},
		"tags number":      {`{"rule":"r","tags":1` + rest, "tags", fault.Invalid},
		"tags many":        {`{"rule":"r","tags":[` + many + `]` + rest, "tags", fault.Invalid},
		"hostname object":  {`{"rule":"r","hostname":{}` + rest, "hostname", fault.Invalid},
		"deep":             {`{"rule":"r","x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + rest, "deeper", fault.Invalid},
		"large":            {`{"rule":"` + strings.Repeat("r", MaxBytes) + `"` + rest, "1 MiB", fault.TooLarge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(tt.in))
			if err == nil || fault.KindOf(err) != tt.kind {
				t.Fatalf("got %v, want a fault of kind %s", err, tt.kind)
			}
			if s := err.Error(); !strings.Contains(s, tt.says) || strings.Contains(s, "\n") || len(s) > 200 {
				t.Errorf("error %q: want one short line that says %q", s, tt.says)
			}
			if tt.kind == fault.TooLarge && !errors.Is(err, ErrTooLarge) {
				t.Error("error is not ErrTooLarge")
			}
		})
	}
}

func TestBracketsInTextAreNotDepth(t *testing.T) {
	in := fmt.Sprintf(`{"rule":"r","output":"%s\"%s","priority":"Error","time":"2026-11-20T19:23:54Z"}`, strings.Repeat("[", 1000), strings.Repeat("{", 1000))
	if _, err := Decode([]byte(in)); err != nil {
		t.Error(err)
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	for _, dir := range folders(t) {
		want, err := Decode(read(t, filepath.Join(dir, "falco.json")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(map[string]any{"alert": want})
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Alert Alert }
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Alert); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, dir := range folders(f)[:4] {
		f.Add(read(f, filepath.Join(dir, "body.json")))
	}
	f.Add([]byte(`{"rule":"r","priority":4,"time":1795202634563820650,"tags":"a,b","output_fields":{"falconer.chain":["a",1],"k8s.pod.name":"falconer-scan-x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Decode(b)
		if err != nil {
			if fault.Retryable(err) {
				t.Fatalf("a malformed alert is retried: %v", err)
			}
			return
		}
		if id, ok := a.Scan(); ok && len(id) != 36 {
			t.Fatalf("scan ID %q", id)
		}
		a.Place()
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > MaxBytes {
			return // escapes made it longer
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("own output refused: %v\n%s", err, again)
		}
		if diff := cmp.Diff(a, back); diff != "" || a.Digest() != back.Digest() {
			t.Fatalf("round trip changed the alert: %s", diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	body := read(b, filepath.Join(folders(b)[3], "body.json"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	a, err := Decode(read(b, filepath.Join(folders(b)[3], "body.json")))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		a.Digest()
	}
}
