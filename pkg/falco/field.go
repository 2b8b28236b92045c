package falco

import (
	"encoding/json"
	"strconv"
)

// Field returns an output field as text: "" where it is missing, null, or
// neither text, number nor boolean.
func (a Alert) Field(name string) string {
	return asText(a.Fields[name])
}

// List returns an output field that is a list of texts, or nil. Elements that
// are not text, number or boolean are left out.
func (a Alert) List(name string) []string {
	switch v := a.Fields[name].(type) {
	case []string:
		return v
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			if s := asText(e); s != "" {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}

// asText accepts what Decode yields and the Go types that a sensor in this
// process sets.
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint32:
		return strconv.FormatUint(uint64(v), 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return ""
	}
}
