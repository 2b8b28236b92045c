package rules

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Type is the type of a field's values; it decides which operators apply.
type Type uint8

// The types of fields.
const (
	String Type = iota
	Number      // a signed integer; ports, descriptors and results too
	Bool
	Addr // an IP address, compared with addresses
	Net  // an IP address, compared with networks in CIDR notation
	Time // nanoseconds since the Unix epoch, printed as a time of day; not comparable
	None // the source knows the name but never has a value: printed as <NA>; not comparable
)

// String names the type in error messages.
func (t Type) String() string {
	switch t {
	case String:
		return "string"
	case Number:
		return "number"
	case Bool:
		return "bool"
	case Addr:
		return "address"
	case Net:
		return "network"
	case Time:
		return "time"
	case None:
		return "field without values here"
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}

// Value is one field's value. The zero Value is the empty string.
type Value struct {
	typ  Type
	num  int64
	str  string
	addr netip.Addr
}

// StringValue is a value of type String.
func StringValue(s string) Value { return Value{typ: String, str: s} }

// NumberValue is a value of type Number.
func NumberValue(n int64) Value { return Value{typ: Number, num: n} }

// BoolValue is a value of type Bool.
func BoolValue(b bool) Value {
	v := Value{typ: Bool}
	if b {
		v.num = 1
	}
	return v
}

// AddrValue is a value for fields of type Addr and Net. An IPv4 address mapped
// into IPv6 counts as the IPv4 address, as in Falco.
func AddrValue(a netip.Addr) Value { return Value{typ: Addr, addr: a.Unmap()} }

// TimeValue is a value of type Time.
func TimeValue(t time.Time) Value { return Value{typ: Time, num: t.UnixNano()} }

// String renders the value as Falco prints it in an output.
func (v Value) String() string {
	switch v.typ {
	case Number:
		return strconv.FormatInt(v.num, 10)
	case Bool:
		return strconv.FormatBool(v.num != 0)
	case Addr, Net:
		return v.addr.String()
	case Time:
		return time.Unix(0, v.num).UTC().Format("15:04:05.000000000")
	}
	return v.str
}

// Any returns the value as Falco's JSON output_fields carry it: string, int64
// or bool; a Time is its nanoseconds.
func (v Value) Any() any {
	switch v.typ {
	case Number, Time:
		return v.num
	case Bool:
		return v.num != 0
	}
	return v.String()
}

// ArgMode says what may stand in brackets after a field's name.
type ArgMode uint8

// The argument modes.
const (
	NoArg    ArgMode = iota
	Key              // field[NAME], required: the Event gets arg = NAME
	Ancestor         // field[n] is ancestor n (0 the process itself); without brackets, any ancestor
)

// FieldInfo declares a field.
type FieldInfo struct {
	Name string
	ID   int // handed to Event.Field
	Type Type
	Arg  ArgMode
	Doc  string // one line for the reference
}

// Fields declares what an event source supplies: the vocabulary of its rules.
type Fields interface {
	// Lookup returns the field of that exact name.
	Lookup(name string) (FieldInfo, bool)
	// EventTypes returns every evt.type the source emits.
	EventTypes() []string
}

// Event is one event to match. A Set asks only for fields its rules name, and
// only from the goroutine that called Match.
type Event interface {
	// Type returns evt.type, one of the declared EventTypes.
	Type() string
	// Field returns the value of a field; false if the event has none. Every
	// comparison with an absent field is false. arg is set for Key fields; index
	// for Ancestor fields, 0 being the process itself and 1 its parent.
	Field(id int, arg string, index int) (Value, bool)
	// Ancestors returns how many ancestors of the process are known.
	Ancestors() int
}

// Table is a Fields made of a slice.
type Table struct {
	byName map[string]FieldInfo
	fields []FieldInfo
	events []string
}

var _ Fields = (*Table)(nil)

// NewTable declares event types and fields. A later field of the same name
// replaces the earlier one.
func NewTable(eventTypes []string, fields ...FieldInfo) *Table {
	t := &Table{byName: make(map[string]FieldInfo, len(fields)), fields: fields, events: eventTypes}
	for _, f := range fields {
		t.byName[f.Name] = f
	}
	return t
}

// Lookup implements Fields.
func (t *Table) Lookup(name string) (FieldInfo, bool) {
	f, ok := t.byName[name]
	return f, ok
}

// EventTypes implements Fields.
func (t *Table) EventTypes() []string { return t.events }

// All returns the declared fields in order, for a reference or a listing.
func (t *Table) All() []FieldInfo { return t.fields }

// clip bounds one rendered value, so that a hostile value can't swell an output.
func clip(s string) string {
	if len(s) <= MaxValueBytes {
		return s
	}
	return strings.ToValidUTF8(s[:MaxValueBytes-5], "") + "[...]"
}
