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
# Code that we hardly run, or only to start: without inlining it weighs 5 MB
# less. The flags count for tests too, so that both share what is compiled. What
# an install in a sandbox or an alert goes through is inlined (HOT).
COLD_KUBERNETES := k8s.io sigs.k8s.io knative.dev github.com/antlr4-go github.com/cloudevents/sdk-go github.com/fxamacker github.com/google \
	github.com/json-iterator go.uber.org google.golang.org/protobuf
COLD_SANDBOX := $(addprefix gvisor.dev/gvisor/,runsc pkg/control pkg/seccomp pkg/sentry/control pkg/sentry/devices pkg/sentry/fsimpl/cgroupfs \
	pkg/sentry/fsimpl/devpts pkg/sentry/fsimpl/erofs pkg/sentry/fsimpl/fuse pkg/sentry/fsimpl/host pkg/sentry/fsimpl/mqfs pkg/sentry/seccheck \
	pkg/sentry/socket/hostinet pkg/sentry/socket/netlink pkg/sentry/strace pkg/state pkg/tcpip pkg/xdp) \
	github.com/containerd github.com/coreos github.com/godbus github.com/vishvananda
COLD_REPORTS := deps.dev github.com/CycloneDX github.com/nats-io/jwt github.com/owenrumney github.com/package-url github.com/prometheus \
	github.com/spf13 github.com/xeipuuv gitlab.com go.opentelemetry.io go.yaml.in golang.org/x/mod golang.org/x/text google.golang.org/grpc \
	encoding/gob encoding/xml
COLD_REST := github.com/falconer-sec/falconer github.com/nats-io/nats.go golang.org/x/crypto net/http crypto/tls regexp text/template
HOT := $(addprefix github.com/falconer-sec/falconer/,functions/correlator functions/falcogate pkg/alerts pkg/broker pkg/canary pkg/correlate pkg/falco \
	pkg/sandbox pkg/sensor)
COLD := $(COLD_KUBERNETES:%=%/...) $(COLD_SANDBOX:%=%/...) $(COLD_REPORTS:%=%/...) $(COLD_REST:%=%/...)
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) $(COLD:%=-gcflags=%=-l) $(HOT:%=-gcflags=%/...=))

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
