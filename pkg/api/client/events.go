package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 16 << 20

// Events iterates over the event log. With q.Follow it goes on until ctx ends
// or the server does. An error ends the iteration.
func (c *Client) Events(ctx context.Context, q api.Query) iter.Seq2[api.Logged, error] {
	return c.log(ctx, "/events", q)
}

// ScanEvents is Events for one scan; q.Subject is ignored. With q.Follow it
// ends with the scan.
func (c *Client) ScanEvents(ctx context.Context, id scan.ID, q api.Query) iter.Seq2[api.Logged, error] {
	q.Subject = ""
	return c.log(ctx, "/scans/"+url.PathEscape(string(id))+"/events", q)
}

func (c *Client) log(ctx context.Context, path string, q api.Query) iter.Seq2[api.Logged, error] {
	return func(yield func(api.Logged, error) bool) {
		fetch := c.pages
		if q.Follow {
			fetch = c.stream
		}
		if err := fetch(ctx, path, q, func(e api.Logged) bool { return yield(e, nil) }); err != nil {
			yield(api.Logged{}, err)
		}
	}
}

// pages fetches the log page by page.
func (c *Client) pages(ctx context.Context, path string, q api.Query, yield func(api.Logged) bool) error {
	for n := 0; ; {
		var page api.EventPage
		if err := c.call(ctx, http.MethodGet, path+"?"+query(q).Encode(), "", nil, &page); err != nil || len(page.Events) == 0 {
			return err
		}
		for _, e := range page.Events {
			if n++; !yield(e) || n == q.Limit {
				return nil
			}
		}
		q.After = page.Next
	}
}

// errBroken is returned when a stream ends without saying that it is complete.
var errBroken = errors.New("the stream broke off; ask again, after the last event")

// stream reads server-sent events.
func (c *Client) stream(ctx context.Context, path string, q api.Query, yield func(api.Logged) bool) error {
	v := query(q)
	v.Set("follow", "true")
	resp, err := c.do(ctx, http.MethodGet, path+"?"+v.Encode(), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var e api.Logged
	var typ string
	for n := 0; lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			e.Seq, _ = strconv.ParseUint(value, 10, 64) // 0 is no sequence number: nothing is lost but the place to resume at
		case "event":
			typ = value
		case "data":
			if typ == "end" {
				return nil
			}
			if err := json.Unmarshal([]byte(value), &e.Event); err != nil {
				return fault.New("client: decode event", fault.Invalid, err)
			}
			e.Time = e.Event.Time()
			if n++; !yield(e) || n == q.Limit {
				return nil
			}
			e, typ = api.Logged{}, ""
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fault.New("client", fault.Transient, errors.Join(errBroken, lines.Err()))
}

func query(q api.Query) url.Values {
	v := url.Values{}
	set(v, "type", q.Type)
	set(v, "subject", q.Subject)
	if q.After > 0 {
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	return v
}
