package jobwatch

import (
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/function"
	"github.com/falconer-sec/falconer/pkg/registry/fetches"
	"github.com/falconer-sec/falconer/pkg/runs"
	"github.com/falconer-sec/falconer/pkg/serve"
	"github.com/falconer-sec/falconer/pkg/stream"
	"github.com/falconer-sec/falconer/pkg/ticket"
)

// DefaultNamespace is where scans' Jobs are.
const DefaultNamespace = "falconer-sandbox"

// fetchesTimeout bounds one question to the registry service.
const fetchesTimeout = 20 * time.Second

// Service makes jobwatch as a process of its own, with the rights of its service
// account. It reads
//
//	FALCONER_SANDBOX_NAMESPACE  where scans' Jobs are; DefaultNamespace
//	FALCONER_REGISTRY_URL       address of the registry service
//	FALCONER_SCAN_KEY_FILE      the key of scans' tickets, see package ticket
//
// and needs the last two, NATS_URL and K_SINK.
func Service(d serve.Deps) (function.Handler, error) {
	if err := d.Require("FALCONER_REGISTRY_URL", ticket.Env, "NATS_URL", "K_SINK"); err != nil {
		return nil, err
	}
	namespace := d.Env("FALCONER_SANDBOX_NAMESPACE")
	if namespace == "" {
		namespace = DefaultNamespace
	}
	key, err := ticket.ReadKey(d.Env)
	if err != nil {
		return nil, fault.New(Name, fault.Permanent, err)
	}
	cluster, err := InCluster(namespace)
	if err != nil {
		return nil, err
	}
	records, err := runs.Open(d.Context, d.NATS, stream.Replicas(d.Replicas), stream.Guest())
	if err != nil {
		return nil, err
	}
	marks, err := OpenMarks(d.Context, d.NATS, stream.Replicas(d.Replicas))
	if err != nil {
		return nil, err
	}
	return New(Deps{
		Namespace: namespace, Cluster: cluster, Runs: records, Marks: marks, Emit: d.Emitter, Log: d.Log, Key: key,
		Fetches: &fetches.Client{URL: d.Env("FALCONER_REGISTRY_URL"), Key: key, HTTP: serve.NewClient(fetchesTimeout)},
	}), nil
}
