package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// How a process behaves towards NATS.
const (
	natsWait    = 30 * time.Second       // to be reached when the process starts
	natsDial    = 5 * time.Second        // for one connection
	natsPause   = 250 * time.Millisecond // between two tries
	natsPing    = 10 * time.Second       // a silent server is left after two of these
	maxReplicas = 5                      // JetStream's own limit
)

// natsConfig is how to reach NATS, as the environment says it.
type natsConfig struct {
	urls          string
	user          string
	password      func() (string, error)
	ca, cert, key string
	name          string
	wait, pause   time.Duration
	log           *slog.Logger
}

// natsFrom reads
//
//	NATS_URL                     addresses, separated by commas; without a password
//	NATS_USER                    the user's name; its inboxes begin with _INBOX_<name>.
//	NATS_PASSWORD[_FILE]         its password; a file is read anew at each connection
//	NATS_CA_FILE                 whose certificates a server may show; switches TLS on
//	NATS_CERT_FILE, NATS_KEY_FILE  the certificate to show
//
// Its errors hold no secret.
func natsFrom(env func(string) string, name string, log *slog.Logger) (natsConfig, error) {
	c := natsConfig{
		urls: env("NATS_URL"), user: env("NATS_USER"), ca: env("NATS_CA_FILE"), cert: env("NATS_CERT_FILE"), key: env("NATS_KEY_FILE"),
		name: name, wait: natsWait, pause: natsPause, log: log,
	}
	for address := range strings.SplitSeq(c.urls, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil || u.Host == "" {
			return c, fault.Errorf(fault.Permanent, "NATS_URL is not a list of addresses such as nats://nats.example:4222")
		}
		if u.User != nil {
			return c, fault.Errorf(fault.Permanent, "NATS_URL holds a user: use NATS_USER and NATS_PASSWORD_FILE")
		}
	}
	if (c.cert == "") != (c.key == "") {
		return c, fault.Errorf(fault.Permanent, "NATS_CERT_FILE and NATS_KEY_FILE are needed together")
	}
	text, file := env("NATS_PASSWORD"), env("NATS_PASSWORD_FILE")
	switch {
	case text != "" && file != "":
		return c, fault.Errorf(fault.Permanent, "NATS_PASSWORD and NATS_PASSWORD_FILE are both set: use one")
	case c.user == "" && (text != "" || file != ""):
		return c, fault.Errorf(fault.Permanent, "there is a password for NATS, but no NATS_USER")
	case c.user != "" && text == "" && file == "":
		return c, fault.Errorf(fault.Permanent, "NATS_USER is set, but neither NATS_PASSWORD nor NATS_PASSWORD_FILE")
	}
	c.password = func() (string, error) { return text, nil }
	if file != "" {
		c.password = func() (string, error) {
			raw, err := os.ReadFile(file)
			return strings.TrimSpace(string(raw)), err
		}
	}
	if _, err := c.password(); err != nil {
		return c, fault.New("NATS_PASSWORD_FILE", fault.Permanent, err)
	}
	return c, nil
}

func (c natsConfig) options() []nats.Option {
	opts := []nats.Option{
		nats.Name(c.name), nats.Timeout(natsDial), nats.PingInterval(natsPing), nats.MaxPingsOutstanding(2),
		// For ever: what needs NATS fails meanwhile, and is tried again.
		nats.MaxReconnects(-1), nats.ReconnectWait(c.pause), nats.ReconnectJitter(c.pause, c.pause),
		// A password may be replaced at the server before it is here.
		nats.IgnoreAuthErrorAbort(),
		// A connection that we close is not lost.
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.log.Warn("the connection to NATS is lost", "error", err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.log.Info("connected to NATS again", "server", nc.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.log.Error("NATS refuses or reports", "error", err)
		}),
	}
	if c.user != "" {
		opts = append(opts, nats.CustomInboxPrefix("_INBOX_"+c.user), nats.UserInfoHandler(func() (string, string) {
			password, err := c.password()
			if err != nil { // the server then refuses, and it is tried again
				c.log.Error("the password for NATS can't be read", "error", err)
			}
			return c.user, password
		}))
	}
	if c.ca != "" {
		opts = append(opts, nats.RootCAs(c.ca))
	}
	if c.cert != "" {
		opts = append(opts, nats.ClientCert(c.cert, c.key))
	}
	return opts
}

// connect connects. A server that can't be reached is tried again for a while,
// since it may start at the same time; one that refuses the user is not. Errors
// are fault.Transient.
func (c natsConfig) connect(ctx context.Context) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	for {
		nc, err := nats.Connect(c.urls, c.options()...)
		if err == nil || errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nc, fault.New("connect to NATS", fault.Transient, err)
		}
		c.log.Warn("NATS is not there yet", "error", err)
		select {
		case <-ctx.Done():
			return nil, fault.New("connect to NATS", fault.Transient, err)
		case <-time.After(c.pause):
		}
	}
}

// replicas reads FALCONER_NATS_REPLICAS: on how many servers a stream is kept;
// 1 if it is not set.
func replicas(env func(string) string) (int, error) {
	text := env("FALCONER_NATS_REPLICAS")
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxReplicas {
		return 0, fault.Errorf(fault.Permanent, "FALCONER_NATS_REPLICAS is %.20q, not a number from 1 to %d", text, maxReplicas)
	}
	return n, nil
}
