package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/eventing"
	apifunc "github.com/falconer-sec/falconer/functions/api"
	"github.com/falconer-sec/falconer/functions/falcogate"
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/secret"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/users"
)

// serveFlags are the command line of `falconer serve`.
type serveFlags struct {
	common     commonFlags
	listen     string
	data       string
	syncAlways bool
	parallel   int
	resultsDir string
	formats    string // of results, beside JSON
	reportURL  string
	archives   string
}

// closeGrace is what running handlers get at shutdown; a scan under way is cut
// off after it, and run again at the next start.
const closeGrace = 5 * time.Second

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Wait for pushes, alerts and uploads, and scan",
		Long: `Serve runs all functions on one HTTP port:

  POST /falconer/default     the broker's CloudEvents ingress
  POST /falco                Falcosidekick's alerts
  POST /gitlab/webhook       GitLab's push, tag and merge request webhooks
  POST /monitor/project/npm  Package Hunter's interface, asked with GET /?id=ID
       /api/v1/...           the scan API
  GET  /scans/ID             a scan's result for people, where commit statuses lead
  GET  /healthz /readyz /metrics

Secrets come from the environment, or from files that NAME_FILE variables name (several, separated by white space):
  FALCONER_GITLAB_WEBHOOK_TOKEN   what GitLab sends as X-Gitlab-Token
  FALCONER_GITLAB_WEBHOOK_SIGNING_KEY  whsec_... that GitLab signs with; what is set is needed, without either webhooks are refused
  FALCONER_PACKAGEHUNTER_USERS    users of Package Hunter's interface, lines of "falconer user"; without one only this machine is served
  FALCONER_API_TOKEN              bearer token of the API and the ingress; without one only this machine is served
  FALCONER_FALCO_TOKEN            bearer token of /falco; without one only this machine is served
  FALCONER_FALCO_OPEN_CLOUDEVENTS true lets Falcosidekick's CloudEvents in without a token, from anywhere
  FALCONER_REPORT_TOKEN           bearer token sent to --report-webhook
  GITLAB_TOKEN                    access token for GITLAB_URL, scope api: sources are fetched and statuses set there

Other settings of the environment:
  GITLAB_URL                      your GitLab, e.g. https://gitlab.example.com
  FALCONER_GITLAB_PROJECTS        projects there that are watched for pushes that no webhook told of; others are, once a push was heard
  FALCONER_SOURCE_DIR             take the sources of pushes from here instead: PROJECT/SHA.tar.gz (see --archives)
  FALCONER_RESULT_URL             where commit statuses lead: URL/SCAN-ID`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	f.common.register(fl)
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8080", "`ADDRESS` to listen on")
	fl.StringVar(&f.data, "data", "", "`DIR` of the durable state (default $XDG_STATE_HOME/falconer)")
	fl.BoolVar(&f.syncAlways, "sync-always", false, "flush to disk before each acknowledgement: survives a power cut, at a price")
	fl.IntVar(&f.parallel, "parallel", defaultParallel(), "scans at a time")
	fl.StringVar(&f.resultsDir, "results", "", "write each result to `DIR`/SCAN-ID.json")
	fl.StringVar(&f.formats, "results-formats", "", "write it there in `FORMATS` too, separated by commas, as SCAN-ID.FORMAT.json: "+strings.Join(format.Names(), ", "))
	fl.StringVar(&f.reportURL, "report-webhook", "", "post each result as a CloudEvent to `URL`")
	fl.StringVar(&f.archives, "archives", "", "`DIR` with the sources of pushes (default $FALCONER_SOURCE_DIR)")
	return cmd
}

// secrets are the tokens that serve works with.
type secrets struct {
	gitlab             gitlabhook.Config // tokens and keys only
	api, falco, report []string
	openFalco          bool      // CloudEvents of Falcosidekick, which can't send a token, need none
	users              users.Set // of Package Hunter's interface
}

func readSecrets(getenv func(string) string) (s secrets, err error) {
	if s.gitlab, err = gitlabhook.Secrets(getenv); err != nil {
		return s, err
	}
	for name, to := range map[string]*[]string{"FALCONER_API_TOKEN": &s.api,
		"FALCONER_FALCO_TOKEN": &s.falco, "FALCONER_REPORT_TOKEN": &s.report} {
		if *to, err = secret.Tokens(getenv, name); err != nil {
			return s, err
		}
	}
	if s.users, err = users.FromEnv(getenv, packagehunter.UsersVariable); err != nil {
		return s, err
	}
	s.openFalco, err = falcogate.OpenCloudEvents(getenv)
	return s, err
}

func (a *app) serve(ctx context.Context, f serveFlags) (err error) {
	secret, err := readSecrets(a.getenv)
	if err != nil {
		return err
	}
	c, err := a.serveConfig(f, secret)
	if err != nil {
		return err
	}
	n, err := openNode(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		if cerr := n.close(grace); cerr != nil {
			c.log.Warn("not everything was done; it goes on at the next start", "error", cerr)
		}
	}()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fault.New("serve", fault.Permanent, err)
	}
	handler, err := n.handler(ctx, secret)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := n.start(ctx); err != nil {
		return errors.Join(err, ln.Close())
	}
	c.log.Info("serving", "address", "http://"+ln.Addr().String(), "data", c.dir, "rules", n.rules.Version(), "version", ownVersion())
	return serve.Run(ctx, serve.Config{Listener: ln, Handler: handler, Ready: n.ready, Metrics: n.metrics, Log: c.log})
}

// serveConfig is the node's configuration.
func (a *app) serveConfig(f serveFlags, secret secrets) (nodeConfig, error) {
	dir, err := dataDir(f.data, a.getenv)
	if err != nil {
		return nodeConfig{}, err
	}
	c, err := f.common.node(a, dir)
	if err != nil {
		return c, err
	}
	if f.parallel < 1 {
		return c, fmt.Errorf("--parallel %d is less than 1", f.parallel)
	}
	level := slog.LevelInfo
	if a.debug {
		level = slog.LevelDebug
	}
	c.log = slog.New(slog.NewTextHandler(a.io.err, &slog.HandlerOptions{Level: level}))
	c.syncAlways, c.parallel, c.archives = f.syncAlways, f.parallel, f.archives
	if c.archives == "" {
		c.archives = a.getenv("FALCONER_SOURCE_DIR")
	}
	sinks := []reporter.Sink{reporter.NewLog(c.log)}
	formats, err := format.List(f.formats)
	if err != nil {
		return c, fmt.Errorf("--results-formats: %w", err)
	}
	if len(formats) > 0 && f.resultsDir == "" {
		return c, errors.New("--results-formats is set, but not --results: there is nowhere to write to")
	}
	if f.resultsDir != "" {
		if err := os.MkdirAll(f.resultsDir, 0o755); err != nil {
			return c, err
		}
		sinks = append(sinks, reporter.NewDirectory(f.resultsDir, formats...))
	}
	if f.reportURL != "" {
		token := ""
		if len(secret.report) > 0 {
			token = secret.report[0]
		}
		sinks = append(sinks, reporter.NewWebhook(f.reportURL, token, serve.NewClient(20*time.Second)))
	}
	if c.gitlab, err = gitlab.FromEnv(a.getenv); err != nil {
		return c, err
	}
	c.sinks, c.projects = sinks, planner.Projects(a.getenv)
	c.resultURL, err = reporter.ResultURL(a.getenv)
	return c, err
}

// handler routes the HTTP port.
func (n *node) handler(ctx context.Context, secret secrets) (http.Handler, error) {
	log := n.c.log
	gate, err := falcogate.New(n.alerts, falcogate.Config{Tokens: secret.falco, AllowUnauthenticatedCloudEvents: secret.openFalco, Log: log}, n.metrics)
	if err != nil {
		return nil, err
	}
	falco := http.Handler(gate)
	if len(secret.falco) == 0 {
		falco = api.Guard(api.Access{}, log, gate)
		if secret.openFalco {
			falco = openTo(falcogate.IsCloudEvent, gate, falco)
		}
	}
	hook := secret.gitlab
	hook.Emitter, hook.Now, hook.Log, hook.Count = n.emit, time.Now, log, gitlabhook.Counter(n.metrics)
	if hook.Memory, err = gitlabhook.OpenMemory(ctx, n.nc); err != nil {
		return nil, err
	}
	if len(hook.Tokens)+len(hook.Keys) == 0 {
		log.Info("neither " + gitlabhook.TokenVariable + " nor " + gitlabhook.KeyVariable + " is set: GitLab's webhooks are refused")
	}
	access := api.Access{Tokens: secret.api}
	ingress := serve.Ingress(map[string]function.Emitter{eventing.Namespace + "/" + eventing.Broker: n.emit}, serve.Options{Log: log})
	mux := http.NewServeMux()
	mux.Handle("/falco", falco)
	mux.Handle("/gitlab/webhook", function.TraceRequest(gitlabhook.Name, n.tracer, gitlabhook.Handler(hook)))
	scans := api.Config{Planner: n.planner, Emitter: n.emit, Scans: n.ledger, Results: n.results,
		Log: eventLog{n.broker}, Letters: apifunc.Letters{Store: n.letters, To: n.broker, Emit: n.broker}, Access: access, Now: time.Now, Slog: log, Stop: ctx.Done()}
	mux.Handle(api.Prefix+"/", function.TraceRequest(api.Name, n.tracer, api.New(scans)))
	mux.Handle(api.PagePattern, api.Page(scans))
	n.packageHunter(mux, secret.users)
	mux.Handle("/{namespace}/{broker}", api.Guard(access, log, ingress))
	return mux, nil
}

// openTo serves the requests that fit with the one handler, others with the
// other.
func openTo(fits func(http.Header) bool, one, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fits(r.Header) {
			one.ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// ready reports whether the store answers.
func (n *node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return fault.New("the store does not answer", fault.Transient, n.nc.FlushWithContext(ctx))
}

// dataDir is where the durable state stands.
func dataDir(flag string, getenv func(string) string) (string, error) {
	dir := flag
	if dir == "" {
		if state := getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
			dir = filepath.Join(state, "falconer")
		} else if home := getenv("HOME"); filepath.IsAbs(home) {
			dir = filepath.Join(home, ".local", "state", "falconer")
		} else {
			return "", errors.New("neither HOME nor XDG_STATE_HOME is set: say where the state is kept with --data DIR")
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return abs, os.MkdirAll(abs, 0o700)
}
