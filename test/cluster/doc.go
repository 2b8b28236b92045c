// Package cluster holds the end-to-end tests that run on a real cluster, the
// one that KUBECONFIG names, with Falconer deployed from test/cluster/config:
//
//	make e2e
//
// They have the build tag "cluster", so that `go test ./...` needs none. The
// services around Falconer (GitLab, npm registry, Falcosidekick) are those of
// package world, in the cluster too; nothing here reaches beyond it.
package cluster
