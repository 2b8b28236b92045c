package serve

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// maxReason bounds the reason that an error answer carries.
const maxReason = 500

// problem is the JSON body of an error answer.
type problem struct {
	Error string `json:"error"`
	// Events reports each event of a batch that was only partly accepted.
	Events []outcome `json:"events,omitempty"`
}

// outcome is what became of one event of a batch.
type outcome struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// Refuse answers with the status of err's fault.Kind and a one-line reason as
// {"error": "..."}. It writes no body for a success.
func Refuse(w http.ResponseWriter, err error) {
	refuse(w, StatusOf(err), problem{Error: reason(err)})
}

func refuse(w http.ResponseWriter, status int, p problem) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client went away: nobody left to tell
}

// StatusOf is fault.Status, except that an error which stems from an HTTP
// answer (see Remote) keeps its status.
func StatusOf(err error) int {
	if code, ok := remoteStatus(err); ok {
		return code
	}
	return fault.Status(err)
}

// reason makes one bounded line of an error.
func reason(err error) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "\uFFFD")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	return s
}
