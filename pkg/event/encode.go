package event

import (
	"encoding/json"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Encode writes an event in CloudEvents' JSON format. Unlike the SDK's
// marshaller it keeps data that isn't UTF-8 (as base64), and refuses, as
// fault.Invalid, data that isn't the JSON which its content type promises.
func Encode(e ce.Event) ([]byte, error) {
	if !e.DataBase64 && !utf8.Valid(e.Data()) {
		e = e.Clone()
		e.DataBase64 = true
	}
	body, err := e.MarshalJSON()
	if err != nil {
		return nil, fault.New("event: encode", fault.Invalid, err)
	}
	if !json.Valid(body) {
		return nil, fault.Errorf(fault.Invalid, "event: data is not the JSON that its content type says")
	}
	return body, nil
}
