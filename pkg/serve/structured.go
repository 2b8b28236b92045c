package serve

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// decodeStructured reads one event in the JSON format. It is stricter than the
// SDK, whose reader panics on some input, stops at an empty name, and takes the
// last of two members with one name.
func decodeStructured(body []byte) (ce.Event, error) {
	members, err := object(body)
	if err != nil {
		return ce.Event{}, err
	}
	if v := members["specversion"]; string(v) != `"1.0"` {
		return ce.Event{}, fault.Errorf(fault.Invalid, "serve: specversion %.16q is not supported, only \"1.0\" is", v)
	}
	e := ce.New(ce.CloudEventsVersionV1)
	for name, value := range members {
		if name == "specversion" || name == "data" || name == "data_base64" || string(value) == "null" {
			continue
		}
		if err := setMember(&e, name, value); err != nil {
			return ce.Event{}, err
		}
	}
	if err := setData(&e, members); err != nil {
		return ce.Event{}, err
	}
	return checked(e)
}

// object reads exactly one JSON object with the names of attributes, each once.
func object(body []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(body) {
		return nil, fault.Errorf(fault.Invalid, "serve: body is not one valid JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fault.Errorf(fault.Invalid, "serve: body is not a JSON object")
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fault.New("serve: read JSON", fault.Invalid, err)
		}
		name, _ := t.(string)
		if _, repeated := members[name]; repeated || !attribute(name) {
			return nil, fault.Errorf(fault.Invalid, "serve: %.64q is repeated or not an attribute name", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil && err != io.EOF {
			return nil, fault.New("serve: read JSON", fault.Invalid, err)
		}
		if members[name] = value; len(members) > event.MaxExtensions+16 {
			return nil, fault.Errorf(fault.Invalid, "serve: too many attributes")
		}
	}
	return members, nil
}

func attribute(name string) bool {
	if name == "data_base64" {
		return true
	}
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// setMember sets an attribute or extension. Extensions may be strings, booleans
// and integers of 32 bits; attributes are strings.
func setMember(e *ce.Event, name string, value json.RawMessage) error {
	var s string
	isString := json.Unmarshal(value, &s) == nil
	known := true
	switch name {
	case "id":
		e.SetID(s)
	case "type":
		e.SetType(s)
	case "source":
		e.SetSource(s)
	case "subject":
		e.SetSubject(s)
	case "dataschema":
		e.SetDataSchema(s)
	case "datacontenttype":
		e.SetDataContentType(s)
	case "time":
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return fault.Errorf(fault.Invalid, "serve: time %.40q is not an RFC 3339 time", s)
		}
		e.SetTime(at)
	default:
		known = false
	}
	if known {
		if !isString {
			return fault.Errorf(fault.Invalid, "serve: attribute %s is not a string", name)
		}
		return nil
	}
	var number int32
	var flag bool
	switch {
	case isString:
		e.SetExtension(name, s)
	case json.Unmarshal(value, &number) == nil:
		e.SetExtension(name, number)
	case json.Unmarshal(value, &flag) == nil:
		e.SetExtension(name, flag)
	default:
		return fault.Errorf(fault.Invalid, "serve: extension %.64s is neither a string, a boolean nor an integer", name)
	}
	return nil
}

// setData takes the data: JSON as it stands, other content from a string.
func setData(e *ce.Event, members map[string]json.RawMessage) error {
	data, plain := members["data"]
	encoded, binary := members["data_base64"]
	switch {
	case plain && binary:
		return fault.Errorf(fault.Invalid, "serve: an event has data or data_base64, not both")
	case binary:
		var s string
		if err := json.Unmarshal(encoded, &s); err != nil {
			return fault.Errorf(fault.Invalid, "serve: data_base64 is not a string")
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fault.New("serve: data_base64", fault.Invalid, err)
		}
		e.DataEncoded, e.DataBase64 = raw, true
	case plain && isJSON(e.DataContentType()):
		e.DataEncoded = data
	case plain:
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return fault.Errorf(fault.Invalid, "serve: data of content type %.100q is not a string", e.DataContentType())
		}
		e.DataEncoded = []byte(s)
	}
	return nil
}

// isJSON tells whether data of a content type stands as JSON in the event; no
// content type means that it does.
func isJSON(content string) bool {
	media, _, err := mime.ParseMediaType(content)
	return content == "" || err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}
