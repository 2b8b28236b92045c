package gitlabhook

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/natsd"
)

const (
	oldKey   = "whsec_b2xkLWtleS1vbGQta2V5LW9sZA=="
	newKey   = "whsec_bmV3LWtleS1uZXcta2V5LW5ldw=="
	otherKey = "whsec_b3RoZXIta2V5LW90aGVyLWtleQ=="
)

// signing is a Config that asks for signatures only.
func signing(t *testing.T, r *recorder) Config {
	t.Helper()
	c := config(r)
	c.Tokens = nil
	for _, s := range []string{oldKey, newKey} {
		k, err := ParseSigningKey(s)
		if err != nil {
			t.Fatal(err)
		}
		c.Keys = append(c.Keys, k)
	}
	c.Memory = NewLocalMemory(c.Now)
	return c
}

// send posts a push that is signed, with headers changed afterwards; it returns
// the status.
func send(t *testing.T, h http.Handler, key string, at time.Time, change func(http.Header), token string) int {
	t.Helper()
	hook := gitlabtest.Hook{URL: "http://localhost/gitlab/webhook", Secret: key, Token: token, Now: func() time.Time { return at }}
	r, err := hook.Request(t.Context(), gitlabtest.Delivery{Kind: "Push Hook", Key: "delivery-1", Body: []byte(push(t))})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r.Header)
	}
	var header []string
	for k := range r.Header {
		header = append(header, k, r.Header.Get(k))
	}
	w := post(h, r.Body, header...)
	if w.Code == http.StatusUnauthorized && strings.TrimSpace(w.Body.String()) != `{"error":"unauthorized"}` {
		t.Errorf("the refusal tells why: %s", w.Body)
	}
	return w.Code
}

func TestSignatures(t *testing.T) {
	for name, tt := range map[string]struct {
		key    string
		off    time.Duration
		change func(http.Header)
		want   int
	}{
		"old key":        {oldKey, 0, nil, 200},
		"new key":        {newKey, 0, nil, 200},
		"other key":      {otherKey, 0, nil, 401},
		"unsigned":       {"", 0, nil, 401},
		"just in time":   {newKey, -SignatureWindow, nil, 200},
		"just ahead":     {newKey, SignatureWindow, nil, 200},
		"too old":        {newKey, -SignatureWindow - time.Second, nil, 401},
		"from tomorrow":  {newKey, 24 * time.Hour, nil, 401},
		"other id":       {newKey, 0, func(h http.Header) { h.Set("webhook-id", "delivery-2") }, 401},
		"no id":          {newKey, 0, func(h http.Header) { h.Del("webhook-id") }, 401},
		"other time":     {newKey, 0, func(h http.Header) { h.Set("webhook-timestamp", "1772366401") }, 401},
		"no time":        {newKey, 0, func(h http.Header) { h.Set("webhook-timestamp", "now") }, 401},
		"time overflows": {newKey, 0, func(h http.Header) { h.Set("webhook-timestamp", "9223372036854775807") }, 401},
		"other version":  {newKey, 0, func(h http.Header) { h.Set("webhook-signature", "v2"+h.Get("webhook-signature")[2:]) }, 401},
		"cut":            {newKey, 0, func(h http.Header) { h.Set("webhook-signature", h.Get("webhook-signature")[:20]) }, 401},
		"one of several": {newKey, 0, func(h http.Header) { h.Set("webhook-signature", "v1,AAAA v2,x "+h.Get("webhook-signature")) }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			if got := send(t, Handler(signing(t, &r)), tt.key, now.Add(tt.off), tt.change, ""); got != tt.want || (len(r.events) == 1) != (got == 200) {
				t.Errorf("status %d with %d events, want %d", got, len(r.events), tt.want)
			}
		})
	}
}

// A token does not stand in for a signature, nor the other way round.
func TestTokenAndSignature(t *testing.T) {
	for name, tt := range map[string]struct {
		key, token string
		want       int
	}{
		"both":           {newKey, "new-token", 200},
		"only token":     {"", "new-token", 401},
		"only signature": {newKey, "", 401},
		"wrong token":    {newKey, "x", 401},
		"wrong key":      {otherKey, "new-token", 401},
	} {
		t.Run(name, func(t *testing.T) {
			c := signing(t, &recorder{})
			c.Tokens = []string{"new-token"}
			if got := send(t, Handler(c), tt.key, now, nil, tt.token); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}

// A recorded webhook does not work twice; GitLab's own retry, signed anew, does.
func TestReplay(t *testing.T) {
	s, err := natsd.Start(natsd.Config{Dir: t.TempDir(), Log: eventtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	shared, err := OpenMemory(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, memory := range map[string]Memory{"local": NewLocalMemory(func() time.Time { return now }), "shared": shared} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			c := signing(t, &r)
			c.Memory = memory
			h := Handler(c)
			for _, step := range []struct {
				broken error
				off    time.Duration
				want   int
			}{
				{errors.New("broker away"), 0, 503},
				{nil, 0, 200}, // not taken before, so it may come again
				{nil, 0, 401},
				{nil, time.Second, 200},
				{nil, time.Second, 401},
			} {
				r.err = step.broken
				if got := send(t, h, newKey, now.Add(step.off), nil, ""); got != step.want {
					t.Errorf("%+v: status %d", step, got)
				}
			}
			if len(r.events) != 2 || r.events[0].ID() != r.events[1].ID() {
				t.Errorf("GitLab's retry is another event: %v", r.events)
			}
		})
	}
}

// Where nobody can say whether a webhook is new, it is not taken.
func TestMemoryFails(t *testing.T) {
	var r recorder
	c := signing(t, &r)
	c.Memory = amnesia{}
	if got := send(t, Handler(c), newKey, now, nil, ""); got != 503 || len(r.events) != 0 {
		t.Errorf("status %d with %d events", got, len(r.events))
	}
}

type amnesia struct{}

func (amnesia) First(context.Context, string) (bool, error) { return false, errors.New("no JetStream") }
func (amnesia) Forget(context.Context, string) error        { return nil }

func TestLocalMemoryIsBounded(t *testing.T) {
	at := now
	m := NewLocalMemory(func() time.Time { return at })
	for i := range MaxRemembered {
		if ok, err := m.First(t.Context(), string(rune(i))+"-"+time.Duration(i).String()); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _, err := m.First(t.Context(), "one more"); !fault.Retryable(err) {
		t.Errorf("got %v, want transient", err)
	}
	at = at.Add(remembered)
	if ok, err := m.First(t.Context(), "one more"); !ok || err != nil || len(m.until) != 1 {
		t.Errorf("%v, %v, %d remembered", ok, err, len(m.until))
	}
}

func TestSecrets(t *testing.T) {
	for name, tt := range map[string]struct {
		env          map[string]string
		tokens, keys int
		err          string
	}{
		"none":      {},
		"both":      {map[string]string{TokenVariable: "token-one token-two", KeyVariable: oldKey + " " + newKey}, 2, 2, ""},
		"bad key":   {map[string]string{KeyVariable: "whsec_hunter2-hunter2"}, 0, 0, KeyVariable},
		"short key": {map[string]string{KeyVariable: "whsec_aHVudGVyMg=="}, 0, 0, KeyVariable},
		"no prefix": {map[string]string{KeyVariable: "bmV3LWtleS1uZXcta2V5LW5ldw=="}, 0, 0, KeyVariable},
		"short":     {map[string]string{TokenVariable: "hunter2"}, 0, 0, TokenVariable},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Secrets(func(k string) string { return tt.env[k] })
			if tt.err == "" && (err != nil || len(c.Tokens) != tt.tokens || len(c.Keys) != tt.keys) {
				t.Errorf("%d tokens, %d keys, %v", len(c.Tokens), len(c.Keys), err)
			}
			if tt.err != "" && (err == nil || fault.KindOf(err) != fault.Permanent || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzSignatureHeader(f *testing.F) {
	f.Add("id", "1772366400", "v1,AAAA")
	f.Add("", "-1", "v1, v1,")
	key, err := ParseSigningKey(newKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, stamp, signature string) {
		s, err := readSignature(http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {signature}}, now)
		if err == nil && s.by([]SigningKey{key}, []byte("body")) {
			t.Errorf("a forged signature passed: %q %q %q", id, stamp, signature)
		}
	})
}
