package rules

import (
	"encoding/base64"
	"strings"
)

const transformerNames = "tolower, toupper, b64, basename and len"

func isTransformer(name string) bool {
	switch name {
	case "tolower", "toupper", "b64", "basename", "len":
		return true
	}
	return false
}

// transformed is the type after applying transformers to a string field.
func transformed(names []string) (Type, bool) {
	typ := String
	for _, n := range names {
		if typ != String {
			return typ, false
		}
		if n == "len" {
			typ = Number
		}
	}
	return typ, true
}

// transform applies transformers, innermost first. A value they don't apply to
// (b64 of something that isn't base64) counts as absent.
func transform(v Value, names []string) (Value, bool) {
	for _, n := range names {
		switch n {
		case "tolower":
			v.str = asciiLower(v.str)
		case "toupper":
			v.str = asciiUpper(v.str)
		case "len":
			v = NumberValue(int64(len(v.str)))
		case "basename":
			v.str = v.str[strings.LastIndexByte(v.str, '/')+1:]
		case "b64":
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v.str, "="))
			if err != nil {
				return Value{}, false
			}
			v.str = string(raw)
		}
	}
	return v, true
}
