package sensor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Bounds of one request to the gate, in bytes: the list, and one alert of it.
const (
	maxRequest = 2 << 20
	maxAlert   = falco.MaxBytes / 2
)

// maxAnswer bounds what is read of the gate's answer.
const maxAnswer = 64 << 10

// Gate hands alerts to the gate over HTTP. Put waits for as long as the gate
// is away: a sandbox stalls rather than that an alert is lost.
type Gate struct {
	URL    string
	Token  string
	Client *http.Client // must have a timeout
	Log    *slog.Logger
}

var _ sandbox.AlertSink = (*Gate)(nil)

// Put implements sandbox.AlertSink. The error is ctx's, or fault.Permanent
// where the gate refuses an alert for what it says.
func (g *Gate) Put(ctx context.Context, id scan.ID, list []falco.Alert) error {
	var body bytes.Buffer
	for i, a := range list {
		raw, err := encode(a)
		if err != nil {
			return fault.New("sensor: encode an alert of scan "+string(id), fault.Permanent, err)
		}
		if body.Len() > 0 && body.Len()+len(raw) > maxRequest {
			if err := g.send(ctx, id, &body); err != nil {
				return err
			}
		}
		body.WriteByte("[,"[min(body.Len(), 1)])
		body.Write(raw)
		if i == len(list)-1 {
			return g.send(ctx, id, &body)
		}
	}
	return nil
}

// send posts a list of a scan's alerts until it is stored, and empties it.
func (g *Gate) send(ctx context.Context, id scan.ID, body *bytes.Buffer) error {
	body.WriteByte(']')
	defer body.Reset()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := g.post(ctx, body.Bytes())
		if err == nil || !fault.Retryable(err) {
			return err
		}
		if ctx.Err() == nil {
			g.Log.Warn("alerts wait for the gate", "scan_id", id, "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (g *Gate) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL, bytes.NewReader(body))
	if err != nil {
		return fault.New("sensor: post alerts", fault.Permanent, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if g.Token != "" {
		req.Header.Set("Authorization", "Bearer "+g.Token)
	}
	resp, err := g.Client.Do(req)
	if err != nil {
		return fault.New("sensor: post alerts", fault.Transient, err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // for the error only
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		return nil
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		return fault.Errorf(fault.Permanent, "the gate answered %d: %.200q", code, text)
	default: // a token that is being replaced, a gate that is being rolled out
		return fault.Errorf(fault.Transient, "the gate answered %d: %.200q", code, text)
	}
}

// encode writes an alert as Falco does, with a process chain no longer than
// fits.
func encode(a falco.Alert) ([]byte, error) {
	raw, err := json.Marshal(a)
	if err != nil || len(raw) <= maxAlert {
		return raw, err
	}
	chain := a.List(falco.FieldChain)
	for keep := len(chain) / 2; len(raw) > maxAlert && keep > 0; keep /= 2 {
		short := append([]string{fmt.Sprintf("(%d more)", len(chain)-keep)}, chain[len(chain)-keep:]...)
		fields := make(map[string]any, len(a.Fields))
		for k, v := range a.Fields {
			fields[k] = v
		}
		fields[falco.FieldChain] = short
		a.Fields = fields
		if raw, err = json.Marshal(a); err != nil {
			return nil, err
		}
	}
	return raw, nil
}
