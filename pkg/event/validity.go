package event

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// What a broker or a function accepts from the outside. CloudEvents sets no
// upper bounds; an unbounded attribute would be an unbounded header, metric
// label and subject.
const (
	MaxType       = 256  // bytes of the type attribute
	MaxAttribute  = 2048 // bytes of any other attribute or extension value
	MaxExtensions = 32   // extensions on one event
	MaxName       = 64   // bytes of an extension's name
)

// Check reports why an event must not enter the system: it isn't a valid
// CloudEvent 1.0, it exceeds the limits above, or an attribute holds what the
// specification forbids (control characters, broken UTF-8), which would split
// a header or a log line. The error is fault.Invalid and quotes what it names.
func Check(e ce.Event) error {
	if e.Context == nil {
		return fault.Errorf(fault.Invalid, "event: no context attributes")
	}
	if v := e.SpecVersion(); v != ce.CloudEventsVersionV1 {
		return fault.Errorf(fault.Invalid, "event: specversion %.16q is not supported, only 1.0 is", v)
	}
	if err := e.Validate(); err != nil {
		return fault.Errorf(fault.Invalid, "event: %s", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	if err := text("type", e.Type(), MaxType); err != nil {
		return err
	}
	for _, a := range [...][2]string{
		{"id", e.ID()}, {"source", e.Source()}, {"subject", e.Subject()},
		{"datacontenttype", e.DataContentType()}, {"dataschema", e.DataSchema()},
	} {
		if err := text(a[0], a[1], MaxAttribute); err != nil {
			return err
		}
	}
	if media := e.DataContentType(); media != "" {
		if _, _, err := mime.ParseMediaType(media); err != nil {
			return fault.Errorf(fault.Invalid, "event: datacontenttype %.100q is malformed", media)
		}
	}
	return checkExtensions(e.Extensions())
}

func checkExtensions(ext map[string]any) error {
	if len(ext) > MaxExtensions {
		return fault.Errorf(fault.Invalid, "event: %d extensions, at most %d are accepted", len(ext), MaxExtensions)
	}
	for name, v := range ext {
		if len(name) > MaxName || !ce.IsExtensionNameValid(name) || strings.ToLower(name) != name {
			return fault.Errorf(fault.Invalid, "event: %.64q is not an extension name", name)
		}
		if s, ok := v.(string); ok {
			if err := text(name, s, MaxAttribute); err != nil {
				return err
			}
		}
	}
	return nil
}

// text accepts what CloudEvents calls a String, up to limit bytes.
func text(name, s string, limit int) error {
	if len(s) > limit {
		return fault.Errorf(fault.Invalid, "event: %s is %d bytes long, at most %d are accepted", name, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fault.Errorf(fault.Invalid, "event: %s is not UTF-8", name)
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return fault.Errorf(fault.Invalid, "event: %s holds the control character %U", name, r)
	}
	return nil
}
