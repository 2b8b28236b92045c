package trigger

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
)

const brokerDoc = `apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: ns, annotations: {eventing.knative.dev/broker.class: MTChannelBasedBroker}}
spec:
  delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT2S, deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead}}}
---
`

// doc is a Trigger with the given lines of spec.
func doc(spec string) string {
	return brokerDoc + `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t, namespace: ns}
spec:
  broker: default
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f}}
` + spec
}

func loadOne(t *testing.T, yaml string) (*Trigger, error) {
	t.Helper()
	set, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(yaml)}})
	if err != nil {
		return nil, err
	}
	return set.Triggers[0], nil
}

func TestLoadRefuses(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"unknown kind":         {"apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: ns}\n", "a.yaml: document 1 (Secret ns/a): v1 Secret is not a kind"},
		"unknown field":        {doc("  flters: []\n"), `document 2 (Trigger ns/t): error unmarshaling JSON: while decoding JSON: json: unknown field "flters"`},
		"not yaml":             {"a: [", "a.yaml: document 1"},
		"no name":              {"apiVersion: v1\nkind: Broker\n", "metadata.namespace and metadata.name are required"},
		"declared twice":       {doc("") + "---\n" + brokerDoc, "declared twice"},
		"undeclared broker":    {strings.Replace(doc(""), "broker: default", "broker: other", 1), `broker "other" is not declared`},
		"no broker class":      {"apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, namespace: ns}\n", "broker.class"},
		"no subscriber":        {strings.Replace(doc(""), "subscriber: {ref:", "subscriber: {rof:", 1), "rof"},
		"subscriber kind":      {strings.Replace(doc(""), "kind: Service, name: f", "kind: Deployment, name: f", 1), "is not a Service"},
		"negative retry":       {doc("  delivery: {retry: -1}\n"), "invalid value: -1"},
		"huge retry":           {doc("  delivery: {retry: 1000000}\n"), "at most 1000"},
		"bad backoff":          {doc("  delivery: {backoffPolicy: fast}\n"), "invalid value: fast"},
		"bad delay":            {doc("  delivery: {backoffDelay: 5s}\n"), "invalid value: 5s"},
		"two dialects":         {doc("  filters: [{exact: {type: a}, prefix: {type: a}}]\n"), "multiple dialects"},
		"empty filter":         {doc("  filters: [{}]\n"), "would be skipped"},
		"empty nested filter":  {doc("  filters: [{not: {}}]\n"), "would be skipped"},
		"empty exact value":    {doc("  filters: [{exact: {type: \"\"}}]\n"), "can't be empty"},
		"cesql parse error":    {doc("  filters: [{cesql: \"type = \"}]\n"), "invalid value"},
		"cesql not boolean":    {doc("  filters: [{cesql: \"type\"}]\n"), "not a boolean expression"},
		"cesql number":         {doc("  filters: [{any: [{cesql: \"1 + 1\"}]}]\n"), "not a boolean expression"},
		"attribute name":       {doc("  filters: [{exact: {Type: a}}]\n"), "Attribute name must start"},
		"old EventType":        {"apiVersion: eventing.knative.dev/v1beta1\nkind: EventType\nmetadata: {name: a, namespace: ns}\n", "is not a kind"},
		"event type no source": {"apiVersion: eventing.knative.dev/v1beta3\nkind: EventType\nmetadata: {name: a, namespace: ns}\nspec: {attributes: [{name: type, required: true, value: a}]}\n", "missing field(s)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := loadOne(t, tt.yaml)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestLoadSkipsSourcesOfEvents(t *testing.T) {
	set, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(doc("") + `---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: sweep, namespace: ns}
---
apiVersion: sources.knative.dev/v1
kind: ApiServerSource
metadata: {name: jobs, namespace: ns}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: jobs, namespace: ns}
`)}})
	if err != nil || len(set.Triggers) != 1 || len(set.Brokers) != 1 {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestWithout(t *testing.T) {
	second := strings.Replace(doc("")[len(brokerDoc):], "name: t,", "name: u,", 1)
	set, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(doc("") + "---\n" + strings.Replace(second, "name: f", "name: g", 1))}})
	if err != nil {
		t.Fatal(err)
	}
	less, err := set.Without("g")
	if err != nil || len(less.Triggers) != 1 || less.Triggers[0].Subscriber.Name != "f" || len(less.Brokers) != 1 {
		t.Errorf("%+v, %v", less, err)
	}
	if len(set.Triggers) != 2 {
		t.Error("the topology itself has changed")
	}
	if _, err := set.Without("f", "h"); err == nil || !strings.Contains(err.Error(), `"h"`) {
		t.Errorf("leaving out what is not there: %v", err)
	}
}

func TestDelivery(t *testing.T) {
	tests := map[string]struct {
		spec    string
		retry   int
		waits   []time.Duration
		timeout time.Duration
		dead    string
	}{
		"the broker's":           {"", 2, []time.Duration{0, 2 * time.Second, 4 * time.Second}, 0, "dead"},
		"replaced wholesale":     {"  delivery: {retry: 3}\n", 3, []time.Duration{0, 0, 0}, 0, "dead"},
		"policy without a delay": {"  delivery: {retry: 3, backoffPolicy: exponential}\n", 3, []time.Duration{0, 0, 0}, 0, "dead"},
		"exponential":            {"  delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT0.1S, timeout: PT1M}\n", 3, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}, time.Minute, "dead"},
		"capped":                 {"  delivery: {retry: 900, backoffPolicy: exponential, backoffDelay: PT59M}\n", 900, []time.Duration{59 * time.Minute, MaxWait, MaxWait}, 0, "dead"},
		"own sink":               {"  delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: own}}}\n", 0, []time.Duration{0, 0, 0}, 0, "own"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tr, err := loadOne(t, doc(tt.spec))
			if err != nil {
				t.Fatal(err)
			}
			d := tr.Delivery
			var waits []time.Duration
			for n := range tt.waits {
				waits = append(waits, d.Wait(n))
			}
			if diff := cmp.Diff(tt.waits, waits); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
			if d.Retry != tt.retry || d.Timeout != tt.timeout || d.DeadLetter.Name != tt.dead {
				t.Errorf("got %+v", d)
			}
			if w := d.Wait(MaxRetry); w < 0 || w > MaxWait {
				t.Errorf("Wait(%d) = %s", MaxRetry, w)
			}
		})
	}
}

var filterCases = []struct {
	name, filters string
	match         string // which of the events below match
	types         []string
}{
	{"none", `[]`, "abcd", nil},
	{"exact", `[{exact: {type: a}}]`, "a", []string{"a"}},
	{"exact extension", `[{exact: {color: red}}]`, "b", nil},
	{"prefix", `[{prefix: {source: /x}}]`, "ab", nil},
	{"suffix", `[{suffix: {subject: .go}}]`, "c", nil},
	{"not", `[{not: {exact: {type: a}}}]`, "bcd", nil},
	{"all", `[{all: [{exact: {type: b}}, {exact: {color: red}}]}]`, "b", []string{"b"}},
	{"implicit all", `[{exact: {type: b}}, {exact: {color: blue}}]`, "", []string{"b"}},
	{"any", `[{any: [{exact: {type: a}}, {exact: {type: d}}]}]`, "ad", []string{"a", "d"}},
	{"any of any type", `[{any: [{exact: {type: a}}, {exact: {color: red}}]}]`, "ab", nil},
	{"nested", `[{not: {any: [{exact: {type: a}}, {all: [{exact: {type: b}}, {prefix: {source: /x}}]}]}}]`, "cd", nil},
	{"contradiction", `[{exact: {type: a}}, {exact: {type: b}}]`, "", nil},
	{"cesql", `[{cesql: "type = 'a' OR EXISTS color"}]`, "ab", nil},
	{"cesql that fails on some", `[{cesql: "color = 'red'"}]`, "b", nil},
}

func filterEvents() map[string]ce.Event {
	events := map[string]ce.Event{}
	for _, typ := range []string{"a", "b", "c", "d"} {
		e := ce.New()
		e.SetID("1")
		e.SetType(typ)
		e.SetSource("/y")
		events[typ] = e
	}
	set := func(typ string, f func(*ce.Event)) { e := events[typ]; f(&e); events[typ] = e }
	set("a", func(e *ce.Event) { e.SetSource("/x/1") })
	set("b", func(e *ce.Event) { e.SetSource("/x/2"); e.SetExtension("color", "red") })
	set("c", func(e *ce.Event) { e.SetSubject("main.go") })
	return events
}

// TestFilters holds our evaluation against a table; TestKnativeAgrees holds
// Knative's against ours.
func TestFilters(t *testing.T) {
	events := filterEvents()
	for _, tt := range filterCases {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := loadOne(t, doc("  filters: "+tt.filters+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, typ := range []string{"a", "b", "c", "d"} {
				ok, err := tr.Match(events[typ])
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					got += typ
				}
			}
			if got != tt.match {
				t.Errorf("matched %q, want %q", got, tt.match)
			}
			if diff := cmp.Diff(tt.types, tr.Types()); diff != "" {
				t.Errorf("types (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAttributesFilter(t *testing.T) {
	tr, err := loadOne(t, doc("  filter: {attributes: {type: a, source: \"\"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for typ, e := range filterEvents() {
		if ok, err := tr.Match(e); ok != (typ == "a") || err != nil {
			t.Errorf("event %s: %t, %v", typ, ok, err)
		}
	}
}

func TestMatchReportsAPanic(t *testing.T) {
	tr := &Trigger{Name: "t", filter: root{panicking{}}}
	if ok, err := tr.Match(filterEvents()["a"]); ok || err == nil {
		t.Errorf("got %t, %v, want an error", ok, err)
	}
}

type panicking struct{ filter }

func FuzzLoad(f *testing.F) {
	f.Add(doc("  filters: [{cesql: \"type LIKE 'a%'\"}]\n"))
	f.Add(doc("  delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT0.1S}\n"))
	f.Add("---\n---\n# nothing\n")
	f.Fuzz(func(t *testing.T, s string) {
		set, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(s)}})
		if err != nil {
			return
		}
		for _, tr := range set.Triggers {
			for _, e := range filterEvents() {
				_, _ = tr.Match(e)
			}
		}
	})
}
