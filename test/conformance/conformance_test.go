package conformance_test

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/trigger"
	"github.com/falconer-sec/falconer/test/conformance"
)

// embedded runs pkg/broker behind an HTTP ingress, and receivers in this
// process.
type embedded struct {
	t         *testing.T
	receivers map[string]*conformance.Receiver
}

var _ conformance.Target = embedded{}

func (m embedded) Receive(_ context.Context, name, script string) (string, error) {
	r, err := conformance.NewReceiver(script)
	if err != nil {
		return "", err
	}
	srv := httptest.NewServer(r)
	m.t.Cleanup(srv.Close)
	m.receivers[name] = r
	return srv.URL, nil
}

func (m embedded) Send(ctx context.Context, ingress, text string) (int, error) {
	return conformance.Send(ctx, http.DefaultClient, ingress, text)
}

func (m embedded) Got(_ context.Context, name string) ([]string, error) {
	return m.receivers[name].Got(), nil
}

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
	files, err := fs.Glob(conformance.Cases, "testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			text, err := conformance.Cases.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			conformance.Run(t, embedded{t, map[string]*conformance.Receiver{}},
				conformance.Pace{Patience: eventtest.Patience, Quiet: eventtest.Quiet}, txtar.Parse(text))
		})
	}
}
