package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/functions/deadletter"
	"github.com/falconer-sec/falconer/functions/gitlabhook"
	"github.com/falconer-sec/falconer/functions/planner"
	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/api/ledger"
	"github.com/falconer-sec/falconer/pkg/correlate/kv"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/registry/depot"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/stream"
)

var userName = regexp.MustCompile(`(?m)^\s+user: (\S+)$`)

// natsUsers are those of accounts.conf.
func natsUsers(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("base/nats/accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range userName.FindAllStringSubmatch(string(raw), -1) {
		names = append(names, m[1])
	}
	return names
}

// startNATS starts a server with a configuration file of ours as it is, but for
// where it listens and stores. Every user's password is the name, doubled.
func startNATS(t *testing.T, conf string) *server.Server {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{conf, "base/nats/accounts.conf"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var passwords strings.Builder
	for _, name := range natsUsers(t) {
		fmt.Fprintf(&passwords, "%s_password: %q\n", name, name+name)
	}
	if err := os.WriteFile(filepath.Join(dir, "passwords.conf"), []byte(passwords.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POD_NAME", "nats-0")
	opts, err := server.ProcessConfigFile(filepath.Join(dir, filepath.Base(conf)))
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPPort, opts.StoreDir = "127.0.0.1", server.RANDOM_PORT, 0, filepath.Join(dir, "data")
	opts.NoSigs, opts.NoLog = true, true
	ns, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not become ready")
	}
	return ns
}

// as connects as a user, the way package serve does, and gathers what the server
// refuses.
func as(t *testing.T, ns *server.Server, user string) (*nats.Conn, <-chan error) {
	t.Helper()
	refused := make(chan error, 64)
	nc, err := nats.Connect(ns.ClientURL(), nats.UserInfo(user, user+user), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case refused <- err:
			default:
			}
		}))
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(nc.Close)
	return nc, refused
}

// TestEachUserMayDoItsWork opens, as each function's user, the stores that the
// function opens, and does there what it does, against the very files that the
// cluster's NATS starts with.
func TestEachUserMayDoItsWork(t *testing.T) {
	ns := startNATS(t, "base/nats/nats.conf")
	for user, work := range natsWork {
		t.Run(user, func(t *testing.T) {
			nc, refused := as(t, ns, user)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := work(ctx, nc); err != nil {
				t.Error(err)
			}
			if err := nc.FlushWithContext(ctx); err != nil {
				t.Error(err)
			}
			select {
			case err := <-refused:
				t.Errorf("refused: %v", err)
			default:
			}
		})
	}
	for _, user := range natsUsers(t) {
		if natsWork[user] == nil && user != "falcosidekick" && user != "channels" { // those have tests of their own
			t.Errorf("user %s: nothing here says what it is for", user)
		}
	}
}

var natsWork = map[string]func(context.Context, *nats.Conn) error{
	"planner": func(ctx context.Context, nc *nats.Conn) error {
		p, err := planner.Open(ctx, nc, "")
		if err != nil {
			return err
		}
		known, err := results.Open(ctx, nc, results.Config{Guest: true})
		if err != nil {
			return err
		}
		if _, err := known.Get(ctx, scanID); err != nil && !errors.Is(err, results.ErrNotFound) {
			return err
		}
		if _, err := p.Store.Put(ctx, strings.NewReader("an archive")); err != nil {
			return err
		}
		return branches(ctx, nc)
	},
	"gitlabhook": func(ctx context.Context, nc *nats.Conn) error {
		taken, err := gitlabhook.OpenMemory(ctx, nc)
		if err != nil {
			return err
		}
		for _, want := range []bool{true, false} {
			if first, err := taken.First(ctx, "key"); err != nil || first != want {
				return fmt.Errorf("the webhook is new: %v, not %v: %w", first, want, err)
			}
		}
		return taken.Forget(ctx, "key")
	},
	"reporter": func(ctx context.Context, nc *nats.Conn) error {
		known, err := results.Open(ctx, nc, results.Config{Guest: true})
		if err != nil {
			return err
		}
		if _, err := known.Get(ctx, scanID); err != nil && !errors.Is(err, results.ErrNotFound) {
			return err
		}
		_, err = reporter.NewDiscussions(ctx, nil, nc, known, "", time.Now)
		return errors.Join(err, bucket(ctx, nc, "merge-requests"))
	},
	"runner": func(ctx context.Context, nc *nats.Conn) error {
		published, err := results.Open(ctx, nc, results.Config{Guest: true})
		if err != nil {
			return err
		}
		attempts, err := runner.OpenLedger(ctx, nc, published)
		if err != nil {
			return err
		}
		if _, err := attempts.Attempt(ctx, scanID); err != nil {
			return err
		}
		if _, err := attempts.Finished(ctx, scanID); err != nil {
			return err
		}
		if err := bucket(ctx, nc, "queue"); err != nil {
			return err
		}
		_, err = runs.Open(ctx, nc)
		return errors.Join(err, readSource(ctx, nc))
	},
	"jobwatch": func(ctx context.Context, nc *nats.Conn) error {
		_, err := runs.Open(ctx, nc, stream.Guest())
		return errors.Join(err, bucket(ctx, nc, "runs"))
	},
	"registry": func(ctx context.Context, nc *nats.Conn) error {
		_, err1 := runs.Open(ctx, nc, stream.Guest())
		_, err2 := fetches.Open(ctx, nc)
		_, err3 := depot.OpenMarks(ctx, nc)
		return errors.Join(err1, err2, err3, bucket(ctx, nc, "fetches"), bucket(ctx, nc, "tickets"), readSource(ctx, nc))
	},
	"sensor": func(ctx context.Context, nc *nats.Conn) error {
		_, err := runs.Open(ctx, nc, stream.Guest())
		return errors.Join(err, readSource(ctx, nc))
	},
	"falcogate": func(ctx context.Context, nc *nats.Conn) error {
		store, err := alerts.Open(ctx, nc, alerts.Config{})
		if err != nil {
			return err
		}
		defer store.Close()
		if _, err := store.Put(ctx, []alerts.Item{{Alert: alert("falcogate"), ScanID: otherScan}}); err != nil {
			return err
		}
		return announce(ctx, store)
	},
	"correlator": func(ctx context.Context, nc *nats.Conn) error {
		store, err := alerts.Open(ctx, nc, alerts.Config{Guest: true})
		if err != nil {
			return err
		}
		defer store.Close()
		if err := readAlerts(ctx, store); err != nil {
			return err
		}
		states, err := kv.Open(ctx, nc, kv.Config{})
		if err != nil {
			return err
		}
		published, err := results.Open(ctx, nc, results.Config{})
		if err != nil {
			return err
		}
		_, err = runs.Open(ctx, nc, stream.Guest())
		return errors.Join(err, correlateStates(ctx, states), publish(ctx, published))
	},
	"deadletter": func(ctx context.Context, nc *nats.Conn) error {
		store, err := deadletter.New(ctx, nc)
		if err != nil {
			return err
		}
		return letter(ctx, store)
	},
	"api": func(ctx context.Context, nc *nats.Conn) error {
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		if _, err := planner.Open(ctx, nc, "", stream.Guest()); err != nil {
			return err
		}
		scans, err := ledger.Open(ctx, js, ledger.Config{Keep: time.Hour})
		if err != nil {
			return err
		}
		if _, _, err := scans.List(ctx, 0, 10); err != nil {
			return err
		}
		published, err := results.Open(ctx, nc, results.Config{Guest: true})
		if err != nil {
			return err
		}
		if _, err := published.Get(ctx, scanID); err != nil && !errors.Is(err, results.ErrNotFound) {
			return err
		}
		letters, err := deadletter.New(ctx, nc, stream.Guest())
		if err != nil {
			return err
		}
		return discard(ctx, letters)
	},
}

// readSource opens the source store and reads one object, whole.
func readSource(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep, Guest: true})
	if err != nil {
		return err
	}
	_, err = s.Get(ctx, "sha256-none")
	if err == nil || !strings.Contains(err.Error(), "no archive") {
		return fmt.Errorf("an archive that is not there: %w", err)
	}
	return nil
}

// bucket writes, reads, lists and removes a key of a bucket.
func bucket(ctx context.Context, nc *nats.Conn, name string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	b, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		b, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, History: 1, Storage: jetstream.FileStorage})
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if _, err := b.Put(ctx, "k", []byte("v")); err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if _, err := b.Get(ctx, "k"); err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	if _, err := b.Keys(ctx); err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	return b.Purge(ctx, "k")
}

// TestChannelsAreApart: Knative's channels keep streams of theirs on the same
// servers, and neither they nor our functions see anything of each other.
func TestChannelsAreApart(t *testing.T) {
	ns := startNATS(t, "base/nats/nats.conf")
	ctx := t.Context()
	streams := map[string]jetstream.JetStream{}
	for _, user := range []string{"channels", "correlator"} {
		nc, _ := as(t, ns, user)
		var err error
		if streams[user], err = jetstream.New(nc); err != nil {
			t.Fatal(err)
		}
	}
	nc, _ := as(t, ns, "correlator")
	store, err := results.Open(ctx, nc, results.Config{Guest: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(ctx, finding.Result{ScanID: scanID, Revision: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := streams["channels"].CreateStream(ctx, jetstream.StreamConfig{Name: "C_broker", Subjects: []string{"$KV.>"}}); err != nil {
		t.Fatalf("the channels' own stream: %v", err)
	}
	if _, err := streams["channels"].Stream(ctx, "KV_results"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the channels find the results: %v", err)
	}
	if err := store.Put(ctx, finding.Result{ScanID: scanID, Revision: 2}); err != nil {
		t.Fatal(err)
	}
	s, err := streams["channels"].Stream(ctx, "C_broker")
	if err != nil {
		t.Fatal(err)
	}
	if s.CachedInfo().State.Msgs != 0 {
		t.Error("a function's write is in the channels' stream")
	}
}

// TestNoUserMayDoAnothersWork tries what each user has no business with.
func TestNoUserMayDoAnothersWork(t *testing.T) {
	ns := startNATS(t, "base/nats/nats.conf")
	correlator, _ := as(t, ns, "correlator")
	store, err := alerts.Open(t.Context(), correlator, alerts.Config{Guest: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const direct, drop, change = "$JS.API.DIRECT.GET.", "$JS.API.STREAM.DELETE.", "$JS.API.STREAM.UPDATE."
	tests := map[string]struct{ user, publish, subscribe string }{
		"planner reads alerts":                       {user: "planner", publish: direct + "ALERTS"},
		"planner writes alerts":                      {user: "planner", publish: "alerts.scan.x.y"},
		"gitlabhook reads results":                   {user: "gitlabhook", publish: direct + "KV_results"},
		"gitlabhook writes sources":                  {user: "gitlabhook", publish: "$O.sources.C.x"},
		"gitlabhook changes what was looked at":      {user: "gitlabhook", publish: "$KV.heads.x"},
		"gitlabhook deletes its memory":              {user: "gitlabhook", publish: drop + "KV_webhooks"},
		"planner forgets webhooks":                   {user: "planner", publish: "$KV.webhooks.x"},
		"runner writes alerts":                       {user: "runner", publish: "alerts.scan.x.y"},
		"runner writes results":                      {user: "runner", publish: "$KV.results.x"},
		"jobwatch writes results":                    {user: "jobwatch", publish: "$KV.results.x"},
		"registry writes run records":                {user: "registry", publish: "$KV.runs.x"},
		"registry writes sources":                    {user: "registry", publish: "$O.sources.C.x"},
		"sensor writes run records":                  {user: "sensor", publish: "$KV.runs.x"},
		"sensor reads results":                       {user: "sensor", publish: direct + "KV_results"},
		"falcogate reads results":                    {user: "falcogate", publish: direct + "KV_results"},
		"reporter writes results":                    {user: "reporter", publish: "$KV.results.x"},
		"planner writes results":                     {user: "planner", publish: "$KV.results.x"},
		"deadletter reads alerts":                    {user: "deadletter", publish: direct + "ALERTS"},
		"api writes results":                         {user: "api", publish: "$KV.results.x"},
		"api reads alerts":                           {user: "api", publish: direct + "ALERTS"},
		"correlator deletes the alerts":              {user: "correlator", publish: drop + "ALERTS"},
		"falcogate deletes the alerts":               {user: "falcogate", publish: drop + "ALERTS"},
		"falcogate reads the alerts to a stranger":   {user: "falcogate", publish: "$JS.API.STREAM.SNAPSHOT.ALERTS"},
		"correlator changes the alerts' stream":      {user: "correlator", publish: change + "ALERTS"},
		"planner changes the results' stream":        {user: "planner", publish: change + "KV_results"},
		"registry changes the sources' stream":       {user: "registry", publish: change + "OBJ_sources"},
		"sensor changes the runs' stream":            {user: "sensor", publish: change + "KV_runs"},
		"api changes the dead letters' stream":       {user: "api", publish: change + "DEADLETTERS"},
		"api hears answers to the planner":           {user: "api", subscribe: "_INBOX_planner.>"},
		"api hears everything":                       {user: "api", subscribe: ">"},
		"api hears alerts":                           {user: "api", subscribe: "alerts.>"},
		"falcosidekick hears what others send":       {user: "falcosidekick", subscribe: "falco.>"},
		"falcosidekick writes alerts past the gate":  {user: "falcosidekick", publish: "alerts.scan.x.y"},
		"falcosidekick lists streams":                {user: "falcosidekick", publish: "$JS.API.STREAM.NAMES"},
		"registry asks the server about the account": {user: "registry", publish: "$SYS.REQ.USER.INFO"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			nc, refused := as(t, ns, tc.user)
			if tc.subscribe != "" {
				if _, err := nc.SubscribeSync(tc.subscribe); err != nil {
					t.Fatal(err)
				}
			} else if err := nc.Publish(tc.publish, []byte("{}")); err != nil {
				t.Fatal(err)
			}
			if err := nc.FlushTimeout(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Error(err)
				}
			case <-time.After(2 * time.Second):
				t.Error("it was allowed")
			}
		})
	}
}

// TestStrangersAreRefused: no user for strangers, none for nobody, and none with
// another's password.
func TestStrangersAreRefused(t *testing.T) {
	ns := startNATS(t, "base/nats/nats.conf")
	tests := map[string][]nats.Option{
		"nobody":             nil,
		"a stranger":         {nats.UserInfo("stranger", "strangerstranger")},
		"a wrong password":   {nats.UserInfo("api", "x")},
		"another's password": {nats.UserInfo("api", "plannerplanner")},
	}
	for name, opts := range tests {
		if nc, err := nats.Connect(ns.ClientURL(), opts...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				nc.Close()
			}
		}
	}
}
