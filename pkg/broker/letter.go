package broker

import (
	"encoding/base64"
	"encoding/json"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/falconer-sec/falconer/pkg/trigger"
)

// The extensions on a dead letter. The first three are Knative's; the data is
// the base64 of the failed answer's body, {"error": "..."}, cut to 1024 bytes.
const (
	ExtErrorDest = "knativeerrordest"
	ExtErrorCode = "knativeerrorcode"
	ExtErrorData = "knativeerrordata"
	// ExtTrigger names the Trigger whose subscriber failed.
	ExtTrigger = "falconertrigger"
)

// maxErrorData is Knative's limit. It is a multiple of 4, so that what is cut
// still decodes.
const maxErrorData = 1024

// address turns an event into a dead letter.
func address(e *ce.Event, t *trigger.Trigger, cause error) {
	e.SetExtension(ExtErrorDest, t.Subscriber.URL())
	e.SetExtension(ExtErrorCode, status(cause))
	e.SetExtension(ExtErrorData, errorData(cause))
	e.SetExtension(ExtTrigger, t.Name)
}

// errorData shortens the reason rather than the encoding, so that the sink gets
// whole JSON.
func errorData(cause error) string {
	reason := cause.Error()
	for {
		body, err := json.Marshal(map[string]string{"error": reason})
		if err != nil { // strings always marshal
			return ""
		}
		if data := base64.StdEncoding.EncodeToString(body); len(data) <= maxErrorData {
			return data
		}
		reason = reason[:len(reason)*3/4]
	}
}
