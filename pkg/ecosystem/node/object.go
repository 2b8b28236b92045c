package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/falconer-sec/falconer/pkg/ecosystem/tree"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Object is a JSON object whose keys are looked up exactly; of a repeated key
// the last value counts, as in JavaScript.
type Object map[string]json.RawMessage

var errNotObject = errors.New("not a JSON object")

// ParseObject reads the JSON object in b. A byte order mark is skipped, as npm
// does. Nesting is bounded by encoding/json (10,000 levels).
func ParseObject(b []byte) (Object, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	var o Object
	if err := json.Unmarshal(b, &o); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, errNotObject
		}
		return nil, err
	}
	if o == nil {
		return nil, errNotObject
	}
	return o, nil
}

// Str returns the string under key. Absent or null is ""; any other type is an
// error.
func (o Object) Str(key string) (string, error) {
	raw, ok := o[key]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%q is not a string", key)
	}
	return s, nil
}

// Truthy reports whether JavaScript would take the value under key for true.
func (o Object) Truthy(key string) bool {
	switch raw := bytes.TrimSpace(o[key]); string(raw) {
	case "", "null", "false", "0", "-0", `""`:
		return false
	default:
		return true
	}
}

// Sub returns the object under key; anything else is an empty object.
func (o Object) Sub(key string) Object {
	s, err := ParseObject(o[key])
	if err != nil {
		return Object{}
	}
	return s
}

// Strings returns the list of strings under key, or the single string there.
// Elements of other types are left out.
func (o Object) Strings(key string) []string {
	raw := o[key]
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil {
		return nil
	}
	var out []string
	for _, m := range many {
		var s string
		if json.Unmarshal(m, &s) == nil && s != "" {
			out = append(out, s)
		}
	}
	return out
}

// StringMap returns the string values of the object under key; values of other
// types are kept as their JSON text, so that a comparison sees them.
func (o Object) StringMap(key string) map[string]string {
	out := map[string]string{}
	for k, raw := range o.Sub(key) {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		out[k] = s
	}
	return out
}

// ReadObject reads a JSON object from a file. Malformed content is
// fault.Invalid and names the file; a missing file satisfies fs.ErrNotExist.
func ReadObject(fsys fs.FS, name string, limit int64) (Object, []byte, error) {
	b, err := tree.Read(fsys, name, limit)
	if err != nil {
		return nil, nil, err
	}
	o, err := ParseObject(b)
	if err != nil {
		return nil, nil, fault.Errorf(fault.Invalid, "%s: %w", name, err)
	}
	return o, b, nil
}
