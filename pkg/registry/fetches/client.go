package fetches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// maxAnswer bounds the service's answer in bytes: MaxFetches of the longest.
const maxAnswer = 16 << 20

// validity is how long a ticket of the client's is good.
const validity = time.Minute

// Client asks the registry service.
type Client struct {
	URL  string // base address of the service
	Key  ticket.Key
	HTTP *http.Client     // must have a timeout
	Now  func() time.Time // nil is time.Now
}

// Fetches returns the log of one attempt at a scan; the service stores what it
// has of it before it answers. Errors are transient, unless the service refuses
// the question.
func (c *Client) Fetches(ctx context.Context, id scan.ID, attempt int) (Log, error) {
	const op = "fetches: ask the registry service"
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	address := strings.TrimSuffix(c.URL, "/") + c.Key.Path(ticket.Fetches, id, attempt, now().Add(validity))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Log{}, fault.New(op, fault.Permanent, err)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address, which holds the ticket
		}
		return Log{}, fault.New(op, fault.Transient, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return Log{}, fault.Errorf(fault.Transient, "%s: it answers %s", op, res.Status)
	case res.StatusCode != http.StatusOK:
		return Log{}, fault.Errorf(fault.Permanent, "%s: it answers %s: %.200q", op, res.Status, body)
	case err != nil:
		return Log{}, fault.New(op, fault.Transient, err)
	case len(body) > maxAnswer:
		return Log{}, fault.Errorf(fault.Permanent, "%s: its answer is larger than %d bytes", op, maxAnswer)
	}
	var l Log
	if err := json.Unmarshal(body, &l); err != nil {
		return Log{}, fault.New(fmt.Sprintf("%s: read its answer", op), fault.Permanent, err)
	}
	return l, nil
}
