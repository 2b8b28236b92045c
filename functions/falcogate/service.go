package falcogate

import (
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
)

// Name is the function's name: its Knative Service and its event source.
const Name = "falcogate"

// TLSPort is where the gate takes clients with certificates.
const TLSPort = "8443"

// Service makes the gate and its notifier as a process of their own. It reads
//
//	FALCONER_FALCO_TOKEN             bearer tokens, separated by white space (or FALCONER_FALCO_TOKEN_FILE)
//	FALCONER_SENSOR_TOKEN            bearer tokens of our own sensor (or FALCONER_SENSOR_TOKEN_FILE)
//	FALCONER_FALCO_OPEN_CLOUDEVENTS  "true" lets CloudEvents in without a token
//	FALCONER_FALCO_CLIENT_CA_FILE    opens a second, TLS port (FALCONER_FALCO_TLS_ADDR, by default ":8443") to
//	                                 clients with a certificate of this CA; needs FALCONER_FALCO_TLS_CERT_FILE
//	                                 and FALCONER_FALCO_TLS_KEY_FILE
//	FALCONER_FALCO_NATS_SUBJECT      subject that Falcosidekick's NATS output publishes on, e.g. "falco.>"
//	FALCONER_SANDBOX_NAMESPACE       where scans run, by default falconer-sandbox: what other namespaces' pods do is no scan's
//
// and needs NATS_URL and K_SINK. With a client CA and no token, only the TLS
// port is open to webhooks.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	list, err := secret.Tokens(d.Env, "FALCONER_FALCO_TOKEN")
	if err != nil {
		return nil, err
	}
	sensors, err := secret.Tokens(d.Env, "FALCONER_SENSOR_TOKEN")
	if err != nil {
		return nil, err
	}
	open, err := OpenCloudEvents(d.Env)
	if err != nil {
		return nil, err
	}
	store, err := alerts.Open(d.Context, d.NATS, alerts.Config{Namespace: d.Env("FALCONER_SANDBOX_NAMESPACE"), Replicas: d.Replicas, Log: d.Log})
	if err != nil {
		return nil, err
	}
	mutual := d.Env("FALCONER_FALCO_CLIENT_CA_FILE") != ""
	g, err := New(store, Config{Tokens: list, SensorTokens: sensors, Certificates: mutual, Log: d.Log, AllowUnauthenticatedCloudEvents: open}, d.Metrics)
	if err != nil {
		return nil, err
	}
	if mutual {
		if err := serveTLS(d, g); err != nil {
			return nil, err
		}
	}
	if subject := d.Env("FALCONER_FALCO_NATS_SUBJECT"); subject != "" {
		if err := takeIn(d, subject, g); err != nil {
			return nil, err
		}
	}
	notifier := alerts.NewNotifier(store, d.Emitter, time.Now, d.Log)
	d.Go(func() { _ = notifier.Run(d.Context) }) // its errors are logged, it returns none
	return g, nil
}

// serveTLS serves the gate on its TLS port too.
func serveTLS(d serve.Deps, g *Gate) error {
	config, err := Mutual{
		CertFile: d.Env("FALCONER_FALCO_TLS_CERT_FILE"), KeyFile: d.Env("FALCONER_FALCO_TLS_KEY_FILE"), ClientCAFile: d.Env("FALCONER_FALCO_CLIENT_CA_FILE"),
	}.Config()
	if err != nil {
		return err
	}
	addr := d.Env("FALCONER_FALCO_TLS_ADDR")
	if addr == "" {
		addr = ":" + TLSPort
	}
	ln, err := (&net.ListenConfig{}).Listen(d.Context, "tcp", addr)
	if err != nil {
		return fault.New("falcogate: TLS", fault.Permanent, err)
	}
	d.Go(func() {
		if err := serve.Run(d.Context, serve.Config{Listener: tls.NewListener(ln, config), Handler: g, Log: d.Log.With("port", "tls")}); err != nil {
			d.Log.Error("the TLS port is closed", "error", err)
		}
	})
	return nil
}

// takeIn runs the high-rate path.
func takeIn(d serve.Deps, subject string, g *Gate) error {
	intake, err := NewIntake(d.Context, d.NATS, IntakeConfig{Subject: subject, Replicas: d.Replicas}, g, d.Metrics)
	if err != nil {
		return err
	}
	d.Go(func() { _ = intake.Run(d.Context) }) // its errors are logged, it returns none
	return nil
}

// OpenCloudEvents reads FALCONER_FALCO_OPEN_CLOUDEVENTS. What is neither true
// nor false is a fault.Permanent error: the gate must not be opened, nor kept
// closed, by a slip of the pen.
func OpenCloudEvents(env func(string) string) (bool, error) {
	text := env("FALCONER_FALCO_OPEN_CLOUDEVENTS")
	if text == "" {
		return false, nil
	}
	open, err := strconv.ParseBool(text)
	if err != nil {
		return false, fault.Errorf(fault.Permanent, "FALCONER_FALCO_OPEN_CLOUDEVENTS is %.20q, neither true nor false", text)
	}
	return open, nil
}
