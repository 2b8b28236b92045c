package sensor

import (
	"context"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/sensor/remote"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// DefaultSocket is where the sandboxes of the gVisor runtime class connect.
const DefaultSocket = "/run/trace/events.sock"

// Service is the sensor as a process of its own.
type Service struct{ done chan struct{} }

// NewService returns a Service to Build.
func NewService() *Service { return &Service{done: make(chan struct{})} }

// Build starts the sensor. It reads
//
//	FALCONER_SENSOR_SOCKET      the socket, by default DefaultSocket
//	FALCONER_SENSOR_POINTS      the points of the nodes' trace session, separated
//	                            by commas; by default those of docs/runtimeclass.md
//	FALCONER_SENSOR_TOKEN       bearer token for the gate (or FALCONER_SENSOR_TOKEN_FILE)
//	FALCONER_GATE_URL           where alerts are posted
//	FALCONER_SANDBOX_NAMESPACE  where scans run, by default falconer-sandbox
//	FALCONER_RULES_DIR          rules in place of the shipped ones
//	NODE_NAME                   this node
//
// and needs NATS_URL and K_SINK. It serves nothing but health and metrics.
func (s *Service) Build(d serve.Deps) (http.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK", "FALCONER_GATE_URL", "NODE_NAME"); err != nil {
		return nil, err
	}
	set, err := shipped.Load(d.Env("FALCONER_RULES_DIR"))
	if err != nil {
		return nil, err
	}
	points, err := pointsOf(d.Env("FALCONER_SENSOR_POINTS"))
	if err != nil {
		return nil, err
	}
	token, err := secret.Token(d.Env, "FALCONER_SENSOR_TOKEN")
	if err != nil {
		return nil, err
	}
	jobs, err := stored(d)
	if err != nil {
		return nil, err
	}
	pods, err := client()
	if err != nil {
		return nil, err
	}
	table := NewTable()
	w, err := New(Deps{Pods: table, Jobs: jobs, Rules: set, Points: points, Emit: d.Emitter, Node: d.Env("NODE_NAME"),
		Alerts:  &Gate{URL: d.Env("FALCONER_GATE_URL"), Token: token, Client: d.Client, Log: d.Log},
		Metrics: d.Metrics, Log: d.Log})
	if err != nil {
		return nil, err
	}
	listener, err := Listen(or(d.Env("FALCONER_SENSOR_SOCKET"), DefaultSocket))
	if err != nil {
		return nil, err
	}
	go Follow(d.Context, pods, or(d.Env("FALCONER_SANDBOX_NAMESPACE"), defaultNamespace), d.Env("NODE_NAME"), table)
	go func() {
		defer close(s.done)
		if err := w.Serve(d.Context, listener); err != nil {
			d.Log.Error("the sensor ended", "error", err)
		}
	}()
	return http.NotFoundHandler(), nil
}

// Wait returns when everything the sensor watched is reported, or ctx ends.
func (s *Service) Wait(ctx context.Context) {
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// stored opens the stores that say what a scan is.
func stored(d serve.Deps) (*Stored, error) {
	js, err := jetstream.New(d.NATS)
	if err != nil {
		return nil, fault.New("sensor: open JetStream", fault.Permanent, err)
	}
	sources, err := source.OpenStore(d.Context, js, source.StoreConfig{TTL: source.Keep, Replicas: d.Replicas, Guest: true})
	if err != nil {
		return nil, err
	}
	records, err := runs.Open(d.Context, d.NATS, stream.Replicas(d.Replicas), stream.Guest())
	if err != nil {
		return nil, err
	}
	return &Stored{Runs: records, Sources: sources, Managers: managers.ByName()}, nil
}

// client reaches the API server as the pod's service account.
func client() (*typed.CoreV1Client, error) {
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fault.New("sensor: not in a cluster", fault.Permanent, err)
	}
	pods, err := typed.NewForConfig(c)
	return pods, fault.New("sensor: reach the API server", fault.Permanent, err)
}

// pointsOf reads FALCONER_SENSOR_POINTS.
func pointsOf(text string) ([]string, error) {
	points := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	if len(points) == 0 {
		points = remote.StockPoints()
	}
	if unknown, missing := remote.CheckPoints(points); len(unknown)+len(missing) > 0 {
		return nil, fault.Errorf(fault.Permanent, "FALCONER_SENSOR_POINTS: not known: %q; missing, but needed: %q", unknown, missing)
	}
	return points, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
