package jobs

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/falconer-sec/falconer/functions/runner"
	"github.com/falconer-sec/falconer/pkg/ecosystem/managers"
	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/results"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/source"
	"github.com/falconer-sec/falconer/pkg/stream"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// Concurrency is FALCONER_RUNNER_CONCURRENCY's default; maxConcurrency bounds it
// against slips of the pen.
const (
	Concurrency    = 4
	maxConcurrency = 1000
)

// Service makes the runner as a process of its own, in a cluster. It reads
//
//	FALCONER_SANDBOX_NAMESPACE      where Jobs go, by default falconer-sandbox
//	FALCONER_SANDBOX_IMAGE          what the install runs in
//	FALCONER_SANDBOX_IMAGES         what else it runs in, "pnpm=REF yarn=REF ...",
//	                                by ecosystem.Recipe.Image
//	FALCONER_SANDBOX_STAGE_IMAGE    the program stage
//	FALCONER_SANDBOX_RUNTIME_CLASS  "" for the cluster's default
//	FALCONER_SANDBOX_SENSOR         who watches: "gvisor" or "falco"
//	FALCONER_SANDBOX_HOST_USERS     "false" for a user namespace a pod
//	FALCONER_SANDBOX_APPARMOR       "RuntimeDefault" to ask for it
//	FALCONER_SANDBOX_NODE_DIR       where the image has include/node, "" for nowhere
//	FALCONER_SANDBOX_CPU, _MEMORY, _WORK, _HOME, _TMP
//	                                limits of a pod, see kubernetes.Limits
//	FALCONER_RUNNER_CONCURRENCY     Jobs at once, by default Concurrency
//	FALCONER_REGISTRY_URL           the registry service, http://HOST:PORT
//	FALCONER_SCAN_KEY_FILE          the key of tickets
//	FALCONER_KUBERNETES_URL         an API server that asks for no credentials,
//	                                such as kubectl proxy, in place of the one
//	                                that the pod's service account is for
//
// and needs NATS_URL, K_SINK, both images, FALCONER_SANDBOX_SENSOR,
// FALCONER_REGISTRY_URL, the key, and a service account that may get, list,
// create and delete Jobs in that namespace.
func Service(d serve.Deps) (function.Handler, error) {
	err := d.Require("NATS_URL", "K_SINK", "FALCONER_SANDBOX_IMAGE", "FALCONER_SANDBOX_STAGE_IMAGE", "FALCONER_SANDBOX_SENSOR", "FALCONER_REGISTRY_URL", ticket.Env)
	if err != nil {
		return nil, err
	}
	deps, err := settings(d.Env)
	if err != nil {
		return nil, err
	}
	if deps.Cluster, err = cluster(d.Env("FALCONER_KUBERNETES_URL"), deps.Config); err != nil {
		return nil, err
	}
	deps.Emit, deps.Log, deps.Now = d.Emitter, d.Log, time.Now
	if deps.Metrics, err = NewMetrics(d.Metrics); err != nil {
		return nil, err
	}
	if err := open(d, &deps); err != nil {
		return nil, err
	}
	r := New(deps)
	go r.Run(d.Context)
	return r, nil
}

// cluster reaches the API server, by url if that isn't empty.
func cluster(url string, c kubernetes.Config) (Cluster, error) {
	open := kubernetes.InCluster
	if url != "" {
		open = func(namespace string) (*kubernetes.Client, error) { return kubernetes.At(url, namespace) }
	}
	client, err := open(c.Namespace)
	return kubernetes.Cluster{Config: c, Jobs: client}, err
}

// settings reads the environment.
func settings(env func(string) string) (Deps, error) {
	d := Deps{
		Managers: managers.ByName(), Sensor: env("FALCONER_SANDBOX_SENSOR"),
		Config: kubernetes.Config{
			Namespace: env("FALCONER_SANDBOX_NAMESPACE"), Image: env("FALCONER_SANDBOX_IMAGE"), StageImage: env("FALCONER_SANDBOX_STAGE_IMAGE"),
			RuntimeClass: env("FALCONER_SANDBOX_RUNTIME_CLASS"), NodeDir: env("FALCONER_SANDBOX_NODE_DIR"),
		},
	}
	if d.Config.Namespace == "" {
		d.Config.Namespace = "falconer-sandbox"
	}
	if d.Sensor != event.SensorGVisor && d.Sensor != event.SensorFalco {
		return d, fault.Errorf(fault.Permanent, "FALCONER_SANDBOX_SENSOR is %.20q, neither %s nor %s", d.Sensor, event.SensorGVisor, event.SensorFalco)
	}
	var err error
	if d.Config.Images, err = images(env("FALCONER_SANDBOX_IMAGES")); err != nil {
		return d, err
	}
	if d.Config.NoHostUsers, err = choice(env, "FALCONER_SANDBOX_HOST_USERS", "false"); err != nil {
		return d, err
	}
	if d.Config.AppArmor, err = choice(env, "FALCONER_SANDBOX_APPARMOR", "RuntimeDefault"); err != nil {
		return d, err
	}
	for name, to := range map[string]*resource.Quantity{
		"CPU": &d.Config.Limits.CPU, "MEMORY": &d.Config.Limits.Memory, "WORK": &d.Config.Limits.Work, "HOME": &d.Config.Limits.Home, "TMP": &d.Config.Limits.Temp,
	} {
		if *to, err = quantity(env, "FALCONER_SANDBOX_"+name); err != nil {
			return d, err
		}
	}
	if d.Limit, err = number(env, "FALCONER_RUNNER_CONCURRENCY", Concurrency, 1, maxConcurrency); err != nil {
		return d, err
	}
	if d.Registry, err = registry(env("FALCONER_REGISTRY_URL")); err != nil {
		return d, err
	}
	if d.Key, err = ticket.ReadKey(env); err != nil {
		return d, fault.New("runner", fault.Permanent, err)
	}
	return d, nil
}

// open opens the stores, all at once: a cold start waits for them.
func open(s serve.Deps, d *Deps) error {
	js, err := jetstream.New(s.NATS)
	if err != nil {
		return fault.New("runner: open JetStream", fault.Permanent, err)
	}
	g, ctx := errgroup.WithContext(s.Context)
	g.Go(func() (err error) {
		d.Sources, err = source.OpenStore(ctx, js, source.StoreConfig{TTL: source.Keep, Replicas: s.Replicas, Guest: true})
		return err
	})
	g.Go(func() (err error) { d.Queue, err = OpenQueue(ctx, s.NATS, stream.Replicas(s.Replicas)); return err })
	g.Go(func() (err error) { d.Runs, err = runs.Open(ctx, s.NATS, stream.Replicas(s.Replicas)); return err })
	g.Go(func() error {
		published, err := results.Open(ctx, s.NATS, results.Config{Replicas: s.Replicas, Guest: true})
		if err != nil {
			return err
		}
		d.Ledger, err = runner.OpenLedger(ctx, s.NATS, published, stream.Replicas(s.Replicas))
		return err
	})
	return g.Wait()
}

// images reads "NAME=REFERENCE" words.
func images(text string) (map[string]string, error) {
	out := map[string]string{}
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, ",", " ")) {
		name, ref, ok := strings.Cut(word, "=")
		if !ok || name == "" || ref == "" {
			return nil, fault.Errorf(fault.Permanent, "FALCONER_SANDBOX_IMAGES has %.80q, which is not of the form NAME=IMAGE", word)
		}
		out[name] = ref
	}
	return out, nil
}

// choice reads a variable that is empty or has one value.
func choice(env func(string) string, name, value string) (bool, error) {
	switch text := env(name); text {
	case "":
		return false, nil
	case value:
		return true, nil
	default:
		return false, fault.Errorf(fault.Permanent, "%s is %.40q, neither empty nor %q", name, text, value)
	}
}

// quantity reads an amount, such as "4Gi"; zero if it is not set.
func quantity(env func(string) string, name string) (resource.Quantity, error) {
	text := env(name)
	if text == "" {
		return resource.Quantity{}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return resource.Quantity{}, fault.Errorf(fault.Permanent, "%s is %.40q, not an amount such as 2 or 4Gi", name, text)
	}
	return q, nil
}

// number reads an integer.
func number(env func(string) string, name string, fallback, least, most int) (int, error) {
	text := env(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.Errorf(fault.Permanent, "%s is %.20q, not a number from %d to %d", name, text, least, most)
	}
	return n, nil
}
