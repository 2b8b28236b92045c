# falconer: build, try, test. `make help` lists the targets.

GO      ?= go
BIN     := bin/falconer
# gVisor re-executes its own binary inside an empty root: it must be static.
export CGO_ENABLED = 0
# Functions aligned to 4 bytes instead of 32 save 2 MB.
LDFLAGS := -s -w -funcalign=4
# Of a release, -trimpath. Not otherwise: it compiles everything once more beside
# what the tests have compiled.
BUILDFLAGS ?=
# What of config/overlays is deployed. IMAGEFLAGS are the linker's for programs in
# images, beside -s -w.
OVERLAY    ?= dev
IMAGEFLAGS := -funcalign=4
# Code that we hardly run, or only to start: without inlining it weighs 4 MB
# less. The flags count for tests too, so that both share what is compiled. What
# an install in a sandbox, an event or an alert goes through is not among it.
COLD_KUBERNETES := k8s.io sigs.k8s.io knative.dev github.com/antlr4-go github.com/cloudevents/sdk-go/sql github.com/fxamacker github.com/google \
	github.com/json-iterator go.uber.org google.golang.org/protobuf
COLD_SANDBOX := gvisor.dev/gvisor/runsc gvisor.dev/gvisor/pkg/control gvisor.dev/gvisor/pkg/seccomp gvisor.dev/gvisor/pkg/sentry/control \
	gvisor.dev/gvisor/pkg/sentry/devices gvisor.dev/gvisor/pkg/state github.com/containerd github.com/coreos github.com/godbus \
	github.com/vishvananda
COLD_REPORTS := github.com/CycloneDX github.com/owenrumney github.com/prometheus github.com/spf13 github.com/xeipuuv gitlab.com \
	go.opentelemetry.io go.yaml.in golang.org/x/text google.golang.org/grpc encoding/gob encoding/xml github.com/nats-io/jwt
COLD := $(COLD_KUBERNETES:%=%/...) $(COLD_SANDBOX:%=%/...) $(COLD_REPORTS:%=%/...)
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) $(COLD:%=-gcflags=%=-l))

.PHONY: help build demo test race fuzz lint bench corpus images load deploy undeploy e2e bench-cluster clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

build: ## build bin/falconer, one static binary
	@mkdir -p bin
	$(GO) build $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/falconer

demo: build ## scan a malicious and a benign sample and show both verdicts
	./scripts/demo

test: ## run all tests, real sandboxes included
	$(GO) test -timeout 30m ./...

race: ## run the tests of everything but the sandbox itself under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 40m ./functions/... ./pkg/... ./test/conformance/...

fuzz: ## run each fuzz target for FUZZTIME (default 20s)
	./scripts/fuzz

lint: ## gofmt, go vet, staticcheck and the repository's own rules
	./scripts/lint

bench: build ## measure scan cost, gate throughput, latencies and sizes
	./scripts/bench

corpus: build ## act out every behaviour, scan real packages, and write docs/corpus.md
	$(GO) run ./test/corpus/cmd/corpus report $(BIN) docs/corpus.md

images: ## build every container image as a tarball and an OCI layout, without a registry
	@mkdir -p dist
	$(GO) tool kustomize build config/overlays/$(OVERLAY) | \
		$(GO) run ./config/images/cmd/images -repo '' -layout -ldflags '$(IMAGEFLAGS)' >dist/resolved.yaml

load: ## load the tarballs into a cluster's nodes: $(FALCONER_LOAD) TARBALL for each
	./scripts/load

deploy: ## deploy to the cluster that KUBECONFIG names, with OVERLAY (default dev)
	LDFLAGS='$(IMAGEFLAGS)' ./scripts/deploy $(OVERLAY)

undeploy: ## remove Falconer from that cluster, with all it stored
	./scripts/undeploy

e2e: ## run the end-to-end tests on the cluster that KUBECONFIG names
	./scripts/e2e

bench-cluster: ## measure latencies, queueing and starts from zero on that cluster
	./scripts/bench-cluster

clean: ## remove what the build made
	rm -rf bin dist
