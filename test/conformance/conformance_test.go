package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/trigger"
	"github.com/falconer-sec/falconer/test/conformance"
)

// embedded runs pkg/broker behind an HTTP ingress.
type embedded struct{ t *testing.T }

var _ conformance.Target = embedded{}

func (m embedded) Apply(ctx context.Context, topology []byte, subscribers map[string]string) (string, error) {
	set, err := trigger.Load(fstest.MapFS{"topology.yaml": {Data: topology}})
	if err != nil {
		return "", err
	}
	name := trigger.Broker{Namespace: "test", Name: "default"}
	b, err := broker.New(ctx, broker.Config{Conn: eventtest.NATS(m.t), Name: name, Triggers: set, Log: eventtest.Log(m.t)})
	if err != nil {
		return "", err
	}
	client := serve.NewClient(10 * time.Second)
	for name, url := range subscribers {
		b.Subscribe(name, &serve.Remote{URL: url, Client: client})
	}
	if err := b.Start(ctx); err != nil {
		return "", err
	}
	srv := httptest.NewServer(serve.Ingress(map[string]function.Emitter{"test/default": b}, serve.Options{}))
	m.t.Cleanup(func() {
		srv.Close()
		if err := b.Close(context.Background()); err != nil {
			m.t.Error(err)
		}
		client.CloseIdleConnections()
	})
	return srv.URL + "/test/default", nil
}

func TestEmbeddedBroker(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run(t, embedded{t}, a)
		})
	}
}

// run plays one case.
func run(t *testing.T, target conformance.Target, a *txtar.Archive) {
	files := map[string]string{"dead.script": "", "dead.want": ""}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	receivers := map[string]*conformance.Receiver{}
	urls := map[string]string{}
	for name := range files {
		who, ok := strings.CutSuffix(name, ".want")
		if !ok {
			continue
		}
		r, err := conformance.NewReceiver(files[who+".script"])
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(r)
		t.Cleanup(srv.Close)
		receivers[who], urls[who] = r, srv.URL
	}
	ingress, err := target.Apply(t.Context(), []byte(files["topology.yaml"]), urls)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(files["events"]) {
		var want int
		if _, err := fmt.Sscanf(line, "%d", &want); err != nil {
			t.Fatalf("events: %q: %v", line, err)
		}
		got, err := conformance.Send(t.Context(), http.DefaultClient, ingress, strings.TrimSpace(line[3:]))
		if err != nil || got != want {
			t.Fatalf("sent %sgot %d, %v", line, got, err)
		}
	}
	for who, r := range receivers {
		settle(t, who, r, files[who+".want"])
	}
	time.Sleep(eventtest.Quiet)
	for who, r := range receivers {
		if diff := cmp.Diff(lines(files[who+".want"]), r.Got()); diff != "" {
			t.Errorf("%s received (-want +got):\n%s", who, diff)
		}
	}
}

// settle waits until a receiver has as many events as it should.
func settle(t *testing.T, who string, r *conformance.Receiver, want string) {
	for end := time.Now().Add(eventtest.Patience); len(r.Got()) < len(lines(want)); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%s: %d events are missing", who, len(lines(want))-len(r.Got()))
			return
		}
	}
}

func lines(s string) []string {
	var ls []string
	for l := range bytes.Lines([]byte(s)) {
		ls = append(ls, string(bytes.TrimSpace(l)))
	}
	return ls
}
