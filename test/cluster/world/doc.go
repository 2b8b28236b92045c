// Package world is what surrounds Falconer in a cluster, acted out: a GitLab
// whose projects are the detection corpus, the npm registry their packages
// come from, a Falcosidekick, and the address that reports are posted to.
//
// It runs as one pod. Tests drive it through its control API (Handler), so that
// all traffic to Falconer comes from inside the cluster, as it does in life:
//
//	POST /push      a commit of a corpus project, and the webhook that tells of it
//	GET  /statuses  the commit statuses that Falconer set at the GitLab
//	POST /alerts    alerts, sent as Falcosidekick sends them
//	GET  /reports   the reports that Falconer posted
//	GET  /spans     the spans that were exported by OTLP
//	POST /receivers a subscriber that answers by a script, for the broker's own suite
//	POST /post      an event posted to an address
//
// Guarantees: what it says was sent was answered with the status it names;
// nothing is sent twice on its own account; everything it heard is kept until
// it ends, up to a bound that is an error to pass.
package world
