package world

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// maxReports bounds the reports that are kept.
const maxReports = 10_000

// Reports keeps the events that a reporter posts, each once.
type Reports struct {
	mu   sync.Mutex
	seen map[string]bool
	list []ce.Event
}

// ServeHTTP takes a report with POST and lists those of ?subject=, or all, with
// GET.
func (p *Reports) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		if err := p.take(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return
	}
	p.mu.Lock()
	list := slices.Clone(p.list)
	p.mu.Unlock()
	if subject := r.URL.Query().Get("subject"); subject != "" {
		list = slices.DeleteFunc(list, func(e ce.Event) bool { return e.Subject() != subject })
	}
	answer(w, list)
}

func (p *Reports) take(body io.Reader) error {
	var e ce.Event
	if err := json.NewDecoder(io.LimitReader(body, 16<<20)).Decode(&e); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := e.Source() + " " + e.ID()
	if p.seen[key] {
		return nil
	}
	if len(p.list) == maxReports {
		return fmt.Errorf("world: more than %d reports", maxReports)
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[key] = true
	p.list = append(p.list, e)
	return nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the reader went away
}
