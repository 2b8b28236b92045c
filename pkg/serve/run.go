package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// MaxHeaderBytes bounds a request's header.
const MaxHeaderBytes = 64 << 10

// Config describes an HTTP server.
type Config struct {
	Addr     string       // "host:port"; ignored if Listener is set
	Listener net.Listener // optional; Run closes it
	Handler  http.Handler // everything but /healthz, /readyz and /metrics

	// Ready reports why the server can't take requests yet; nil is always ready.
	Ready   func(ctx context.Context) error
	Metrics prometheus.Gatherer // served at /metrics; nil serves none

	ReadTimeout  time.Duration // whole request; default 30 s
	WriteTimeout time.Duration // handling and answer; default 11 min, above Knative's longest request
	Drain        time.Duration // what running requests get after ctx ends; default 25 s
	// Finish, if set, is called after the last request, within Drain: it waits
	// for what goes on beside requests.
	Finish func(ctx context.Context)
	Log    *slog.Logger // nil discards
}

// Finish has a process wait, when it is stopped, for what goes on beside
// requests: fn is called after the last one, and its context bounds it.
func Finish(fn func(ctx context.Context)) Option { return func(c *Config) { c.Finish = fn } }

// Run serves until ctx ends, then answers 503 at /readyz, finishes running
// requests and returns. It returns nil after a clean drain, fault.Transient if
// requests had to be cut off, and fault.Permanent if it can't listen.
func Run(ctx context.Context, c Config) error {
	c = c.withDefaults()
	ln := c.Listener
	if ln == nil {
		var err error
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr); err != nil {
			return fault.New("serve: listen", fault.Permanent, err)
		}
	}
	srv := &http.Server{
		Handler:           routes(ctx, c),
		ReadHeaderTimeout: min(10*time.Second, c.ReadTimeout),
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.WriteTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
		// Requests outlive ctx, they end with the drain.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	c.Log.Info("serving", "addr", ln.Addr().String())
	select {
	case err := <-failed:
		return fault.New("serve: accept", fault.Permanent, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	<-failed
	if c.Finish != nil {
		c.Finish(drain)
	}
	return fault.New("serve: drain", fault.Transient, err)
}

func (c Config) withDefaults() Config {
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 11 * time.Minute
	}
	if c.Drain == 0 {
		c.Drain = 25 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// routes puts health and metrics beside the handler. Once ctx has ended the
// server is draining and no longer ready.
func routes(ctx context.Context, c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := context.Cause(ctx)
		if err == nil && c.Ready != nil {
			err = c.Ready(r.Context())
		}
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, problem{Error: reason(err)})
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	if c.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	}
	if c.Handler != nil {
		mux.Handle("/", c.Handler)
	}
	return mux
}
