package telemetry

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
)

// defaultInterval is OTEL_METRIC_EXPORT_INTERVAL's default. OpenTelemetry's own
// is a minute: a function that scales to zero would rarely live to see it.
const defaultInterval = 15 * time.Second

// settings are what the OTEL_* variables say.
type settings struct {
	traces, metrics string // URLs; "" sends none
	headers         http.Header
	interval        time.Duration
	attributes      []attribute.KeyValue
	client          *http.Client
}

// read reads the variables. Without an endpoint all of it stays zero.
func read(c Config) (s settings, err error) {
	if c.Env == nil || strings.EqualFold(c.Env("OTEL_SDK_DISABLED"), "true") {
		return s, nil
	}
	if s.traces, err = endpoint(c.Env, "TRACES"); err != nil {
		return settings{}, err
	}
	if s.metrics, err = endpoint(c.Env, "METRICS"); err != nil || s.traces == "" && s.metrics == "" {
		return settings{}, err
	}
	if p := c.Env("OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" && p != "http/protobuf" {
		return settings{}, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %.40q, only http/protobuf is spoken", p)
	}
	if s.headers, err = headers(c.Env("OTEL_EXPORTER_OTLP_HEADERS")); err != nil {
		return settings{}, err
	}
	if s.interval, err = interval(c.Env("OTEL_METRIC_EXPORT_INTERVAL")); err != nil {
		return settings{}, err
	}
	if s.client, err = newClient(c.Env("OTEL_EXPORTER_OTLP_CERTIFICATE")); err != nil {
		return settings{}, err
	}
	s.attributes, err = attributes(c)
	return s, err
}

// endpoint is where a signal is sent: its own URL, or its path below the common
// one.
func endpoint(env func(string) string, signal string) (string, error) {
	if strings.EqualFold(env("OTEL_"+signal+"_EXPORTER"), "none") {
		return "", nil
	}
	name, path := "OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT", ""
	if env(name) == "" {
		name, path = "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/"+strings.ToLower(signal)
	}
	text := env(name)
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%s is %.80q, not an http or https URL", name, text)
	}
	if path != "" {
		u = u.JoinPath(path)
	}
	return u.String(), nil
}

// headers reads name=value,name=value, values percent-encoded.
func headers(text string) (http.Header, error) {
	h := http.Header{}
	for name, value := range pairs(text) {
		v, err := url.PathUnescape(value)
		if err != nil || name == "" {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS is malformed at %.40q", name)
		}
		h.Set(name, v)
	}
	return h, nil
}

// pairs splits name=value,name=value.
func pairs(text string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			name, value, _ := strings.Cut(part, "=")
			out[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return out
}

func interval(text string) (time.Duration, error) {
	if text == "" {
		return defaultInterval, nil
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 100 || ms > 3_600_000 {
		return 0, fmt.Errorf("OTEL_METRIC_EXPORT_INTERVAL is %.20q, not a number of milliseconds from 100 to 3600000", text)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// newClient trusts the CAs in a file, or the system's if there is none.
func newClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 4, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: sendTimeout,
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Timeout: sendTimeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// attributes describe this process.
func attributes(c Config) ([]attribute.KeyValue, error) {
	all := pairs(c.Env("OTEL_RESOURCE_ATTRIBUTES"))
	for name, value := range all {
		v, err := url.PathUnescape(value)
		if err != nil || name == "" {
			return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES is malformed at %.40q", name)
		}
		all[name] = v
	}
	set := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				all[name] = v
				return
			}
		}
	}
	set("service.name", c.Env("OTEL_SERVICE_NAME"), all["service.name"], c.Service)
	set("service.version", all["service.version"], c.Version)
	set("service.instance.id", all["service.instance.id"], c.Instance, random())
	list := make([]attribute.KeyValue, 0, len(all))
	for name, value := range all {
		list = append(list, attribute.String(name, value))
	}
	return list, nil
}

func random() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
