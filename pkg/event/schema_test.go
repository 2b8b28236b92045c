package event_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
)

const result = event.SchemaBase + "result.v1.json"

// data maps each schema to the Go type it describes.
var data = map[string]reflect.Type{
	result:                          reflect.TypeFor[finding.Result](),
	address(event.RepoPush):         reflect.TypeFor[event.Push](),
	address(event.RepoMergeRequest): reflect.TypeFor[event.MergeRequest](),
	address(event.ScanRequested):    reflect.TypeFor[scan.Request](),
	address(event.ScanStarted):      reflect.TypeFor[event.Started](),
	address(event.FalcoAlert):       reflect.TypeFor[event.Alerts](),
	address(event.SandboxExited):    reflect.TypeFor[event.Exited](),
	address(event.ScanFinished):     reflect.TypeFor[finding.Result](),
	address(event.ScanAmended):      reflect.TypeFor[finding.Result](),
	address(event.ScanRejected):     reflect.TypeFor[event.Rejected](),
	address(event.RuntimeAlert):     reflect.TypeFor[event.Runtime](),
	address(event.SensorReported):   reflect.TypeFor[event.SensorReport](),
	address(event.GitLabWebhook):    reflect.TypeFor[event.Webhook](),
}

func address(typ string) string { return event.SchemaBase + typ + ".json" }

// compile loads all schemas and compiles one.
func compile(t *testing.T, at string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, b := range documents(t) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func documents(t *testing.T) map[string][]byte {
	t.Helper()
	docs := map[string][]byte{result: report.Schema()}
	for _, typ := range append(event.Types(), event.GitLabWebhook) {
		b, ok := event.Schema(typ)
		if !ok {
			t.Fatalf("%s has no schema", typ)
		}
		docs[address(typ)] = b
	}
	return docs
}

func TestSchemaOfUnknownType(t *testing.T) {
	for _, typ := range []string{"", "dev.falconer.none.v1", "../schema", event.FalcoRuleOutput} {
		if _, ok := event.Schema(typ); ok {
			t.Errorf("%q has a schema", typ)
		}
	}
}

func TestSchemaKnowsTheLongestTimeout(t *testing.T) {
	s := compile(t, address(event.ScanRequested))
	r := sparse(reflect.TypeFor[scan.Request]()).(scan.Request)
	for seconds, valid := range map[int]bool{int(scan.MaxTimeout.Seconds()): true, int(scan.MaxTimeout.Seconds()) + 1: false} {
		r.TimeoutSeconds = seconds
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); (err == nil) != valid {
			t.Errorf("a timeout of %d s: %v", seconds, err)
		}
	}
}

func TestEverySchemaIsUsed(t *testing.T) {
	if d := cmp.Diff(slices.Sorted(maps.Keys(data)), slices.Sorted(maps.Keys(documents(t)))); d != "" {
		t.Error(d)
	}
}

func TestRealValuesFollowTheSchemas(t *testing.T) {
	for at, typ := range data {
		t.Run(at, func(t *testing.T) {
			s := compile(t, at)
			for name, v := range map[string]any{"full": full(typ), "sparse": sparse(typ)} {
				b, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Validate(doc); err != nil {
					t.Errorf("%s: %v\n%s", name, err, b)
				}
			}
			if s.Validate(map[string]any{}) == nil {
				t.Error("an empty object is valid")
			}
		})
	}
}

// TestSchemasDescribeEveryField fails when a struct and its schema part ways
// in names, in types or in what is required.
func TestSchemasDescribeEveryField(t *testing.T) {
	docs := map[string]map[string]any{}
	for at, b := range documents(t) {
		var doc map[string]any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		if doc["$id"] != at {
			t.Errorf("$id is %v, want %s", doc["$id"], at)
		}
		docs[at] = doc
	}
	for at, typ := range data {
		w := walker{t: t, docs: docs}
		w.node(at, docs[at], typ, typ.Name())
	}
}

type walker struct {
	t    *testing.T
	docs map[string]map[string]any
}

// node compares one schema with one type. at is the document it stands in.
func (w walker) node(at string, n map[string]any, typ reflect.Type, path string) {
	w.t.Helper()
	if ref, ok := n["$ref"].(string); ok {
		doc, pointer, _ := strings.Cut(ref, "#/")
		if doc != "" {
			at = event.SchemaBase + doc
		}
		target := w.docs[at]
		for part := range strings.SplitSeq(pointer, "/") {
			if part != "" {
				target, _ = target[part].(map[string]any)
			}
		}
		if target == nil {
			w.t.Errorf("%s: $ref %s leads nowhere", path, ref)
			return
		}
		w.node(at, target, typ, path)
		return
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if _, ok := n["enum"]; !ok && n["type"] != kindOf(typ) {
		w.t.Errorf("%s: schema says %v, the type is %v", path, n["type"], typ)
	}
	switch {
	case typ == reflect.TypeFor[time.Time](), typ == reflect.TypeFor[json.RawMessage]():
	case typ.Kind() == reflect.Slice:
		items, _ := n["items"].(map[string]any)
		w.node(at, items, typ.Elem(), path+"[]")
	case typ.Kind() == reflect.Struct:
		w.object(at, n, typ, path)
	}
}

func (w walker) object(at string, n map[string]any, typ reflect.Type, path string) {
	w.t.Helper()
	properties, _ := n["properties"].(map[string]any)
	var names, required []string
	for f := range fields(typ) {
		name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
		if opt == "" {
			required = append(required, name)
		}
		if p, ok := properties[name].(map[string]any); ok {
			w.node(at, p, f.Type, path+"."+name)
		}
	}
	slices.Sort(names)
	if d := cmp.Diff(names, slices.Sorted(maps.Keys(properties))); d != "" {
		w.t.Errorf("%s: fields (-type +schema):\n%s", path, d)
	}
	var got []string
	for _, v := range n["required"].([]any) {
		got = append(got, v.(string))
	}
	slices.Sort(required)
	slices.Sort(got)
	if d := cmp.Diff(required, got); d != "" {
		w.t.Errorf("%s: required (-type +schema):\n%s", path, d)
	}
}

// fields yields a struct's fields as JSON has them: embedded ones in place.
func fields(typ reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(typ) {
			if !f.Anonymous && !yield(f) {
				return
			}
		}
	}
}

func kindOf(typ reflect.Type) string {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return "string"
	case typ == reflect.TypeFor[json.RawMessage]():
		return "object"
	}
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return "integer"
}

// full returns a value of typ with every field set.
func full(typ reflect.Type) any { return value(typ, true).Interface() }

// sparse returns a value of typ with only what is required set.
func sparse(typ reflect.Type) any { return value(typ, false).Interface() }

func value(typ reflect.Type, all bool) reflect.Value {
	v := reflect.New(typ).Elem()
	if typ.Kind() == reflect.Pointer {
		if all {
			v.Set(reflect.New(typ.Elem()))
			v.Elem().Set(value(typ.Elem(), all))
		}
		return v
	}
	switch typ {
	case reflect.TypeFor[time.Time]():
		return reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	case reflect.TypeFor[json.RawMessage]():
		return reflect.ValueOf(json.RawMessage(`{"a":1}`))
	case reflect.TypeFor[finding.Priority]():
		return reflect.ValueOf(finding.Critical)
	case reflect.TypeFor[finding.Verdict]():
		return reflect.ValueOf(finding.Malicious)
	case reflect.TypeFor[finding.State]():
		return reflect.ValueOf(finding.Known)
	case reflect.TypeFor[finding.Effect]():
		return reflect.ValueOf(finding.Applied)
	case reflect.TypeFor[scan.ID]():
		return reflect.ValueOf(scan.Key{Project: "p"}.ID())
	case reflect.TypeFor[falco.Alert]():
		return reflect.ValueOf(falco.Alert{Rule: "r", Time: time.Now(), Fields: map[string]any{"evt.time": json.Number("1")}})
	}
	switch typ.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		if all {
			v = reflect.Append(v, value(typ.Elem(), all))
		}
	case reflect.Struct:
		for f := range fields(typ) {
			if _, opt, _ := strings.Cut(f.Tag.Get("json"), ","); opt == "" || all {
				v.FieldByIndex(f.Index).Set(special(f.Name, value(f.Type, all)))
			}
		}
	default:
		if v.CanInt() {
			v.SetInt(1)
		} else if v.CanUint() {
			v.SetUint(1)
		}
	}
	return v
}

// special replaces values of fields that have a form of their own.
func special(field string, v reflect.Value) reflect.Value {
	switch field {
	case "SchemaVersion":
		return reflect.ValueOf(finding.SchemaVersion)
	case "Digest":
		return reflect.ValueOf("sha256:" + strings.Repeat("0a", 32))
	}
	return v
}
