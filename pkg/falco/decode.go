package falco

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
)

// Limits of one alert. Falcosidekick cuts long fields well below them.
const (
	MaxBytes = 1 << 20 // size of the JSON text
	MaxDepth = 16      // nesting of objects and arrays
	MaxTags  = 128
)

// ErrTooLarge is wrapped by Decode's error when the text exceeds MaxBytes.
var ErrTooLarge = errors.New("alert exceeds 1 MiB")

// Decode reads one alert: a line of Falco's own JSON output, a Falcosidekick
// webhook body, or the data of a Falcosidekick CloudEvent.
//
// It understands what versions and hand-made senders differ in: a priority as
// a number, time as nanoseconds or only in evt.time, tags as one string, null
// or missing source, hostname, tags and fields, unknown keys, duplicate keys
// (the last counts), text that is not UTF-8. What cannot be understood is a
// fault.Invalid error whose one line names the field; a text over MaxBytes is
// fault.TooLarge.
func Decode(body []byte) (Alert, error) {
	if len(body) > MaxBytes {
		return Alert{}, fault.New("falco: decode alert", fault.TooLarge, ErrTooLarge)
	}
	if depth(body) > MaxDepth {
		return Alert{}, invalid("the text nests deeper than %d levels", MaxDepth)
	}
	var raw struct {
		Output   any `json:"output"`
		Message  any `json:"message"`
		Priority any `json:"priority"`
		Rule     any `json:"rule"`
		Time     any `json:"time"`
		Source   any `json:"source"`
		Hostname any `json:"hostname"`
		Tags     any `json:"tags"`
		Fields   any `json:"output_fields"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return Alert{}, syntax(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Alert{}, invalid("there is text after the alert's JSON object")
	}

	var a Alert
	var err error
	if a.Fields, err = fields(raw.Fields); err != nil {
		return Alert{}, err
	}
	for _, s := range []struct {
		name string
		from any
		to   *string
	}{
		{"rule", raw.Rule, &a.Rule},
		{"output", first(raw.Output, raw.Message), &a.Output},
		{"source", raw.Source, &a.Source},
		{"hostname", first(raw.Hostname, a.Fields["evt.hostname"]), &a.Hostname},
	} {
		if *s.to, err = text(s.name, s.from); err != nil {
			return Alert{}, err
		}
	}
	if a.Rule == "" {
		return Alert{}, invalid("rule is missing")
	}
	if a.Priority, err = priority(raw.Priority); err != nil {
		return Alert{}, err
	}
	if a.Time, err = moment(raw.Time, a.Fields["evt.time"]); err != nil {
		return Alert{}, err
	}
	if a.Tags, err = tags(raw.Tags); err != nil {
		return Alert{}, err
	}
	return a, nil
}

// UnmarshalJSON reads an alert as Decode does, so that numbers keep their
// precision wherever an Alert stands inside other JSON.
func (a *Alert) UnmarshalJSON(b []byte) error {
	v, err := Decode(b)
	if err != nil {
		return err
	}
	*a = v
	return nil
}

func invalid(format string, args ...any) error {
	return fault.New("falco: decode alert", fault.Invalid, fault.Errorf(fault.Invalid, format, args...))
}

// syntax shortens encoding/json's error to one line that tells nothing of the
// Go types behind it.
func syntax(err error) error {
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		return invalid("the text is a JSON %s, not an object", mismatch.Value)
	case errors.Is(err, io.EOF):
		return invalid("the text is empty")
	default:
		return invalid("the text is not JSON: %v", err)
	}
}

// first returns the first value that is not null, missing or empty.
func first(values ...any) any {
	for _, v := range values {
		if v != nil && v != "" {
			return v
		}
	}
	return nil
}

func text(name string, v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", invalid("%s is %s, not text", name, kind(v))
	}
}

func fields(v any) (map[string]any, error) {
	switch v := v.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return v, nil
	default:
		return nil, invalid("output_fields is %s, not an object", kind(v))
	}
}

// priority reads a name, or the number of Falco's own enumeration (0 is
// Emergency, 7 is Debug), as number or digits.
func priority(v any) (finding.Priority, error) {
	var s string
	switch v := v.(type) {
	case nil:
		return 0, invalid("priority is missing")
	case string:
		s = strings.TrimSpace(v)
	case json.Number:
		s = v.String()
	default:
		return 0, invalid("priority is %s, not a name", kind(v))
	}
	if s == "" {
		return 0, invalid("priority is missing")
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if n < 0 || n > float64(finding.Debug) || n != float64(int(n)) {
			return 0, invalid("priority %.40q is outside 0 to %d", s, finding.Debug)
		}
		return finding.Priority(n), nil
	}
	p, err := finding.ParsePriority(s)
	if err != nil {
		return 0, invalid("priority %.40q is not one of Falco's", s)
	}
	return p, nil
}

// moment reads the alert's time, from evt.time (nanoseconds) where the alert
// itself has none.
func moment(v, evtTime any) (time.Time, error) {
	if v = first(v, evtTime); v == nil {
		return time.Time{}, invalid("time is missing")
	}
	switch v := v.(type) {
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return time.Time{}, invalid("time %.40q is not RFC 3339", v)
		}
		return checkedTime(t)
	case json.Number:
		return nanoseconds(v)
	default:
		return time.Time{}, invalid("time is %s, not RFC 3339", kind(v))
	}
}

// nanoseconds reads a count since 1970, in whatever notation a sender that
// once held it in a float chose.
func nanoseconds(n json.Number) (time.Time, error) {
	ns, err := n.Int64()
	if err != nil {
		f, ok := new(big.Float).SetString(n.String())
		if !ok || f.MantExp(nil) > 63 {
			return time.Time{}, invalid("time %.40q is not a count of nanoseconds", n.String())
		}
		ns, _ = f.Int64()
	}
	return checkedTime(time.Unix(0, ns))
}

// checkedTime refuses what neither a nanosecond count nor RFC 3339 can hold.
func checkedTime(t time.Time) (time.Time, error) {
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2261 {
		return time.Time{}, invalid("time lies in the year %d", t.Year())
	}
	return t, nil
}

// tags reads a list of texts, or one text with commas. Elements that are not
// text are left out: they name nothing that Falconer acts on.
func tags(v any) ([]string, error) {
	var list []string
	switch v := v.(type) {
	case nil:
	case string:
		for _, s := range strings.Split(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok && s != "" {
				list = append(list, s)
			}
		}
	default:
		return nil, invalid("tags is %s, not a list", kind(v))
	}
	if len(list) > MaxTags {
		return nil, invalid("tags has %d entries, over %d", len(list), MaxTags)
	}
	return list, nil
}

// kind names a JSON value's type with its article.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return "null"
	}
}

// depth returns how deep objects and arrays nest, before anything recursive
// looks at them. Brackets inside strings do not count.
func depth(b []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if now++; now > deepest {
				deepest = now
			}
		case '}', ']':
			now--
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}
