// Package kubernetes runs an install as a Kubernetes Job: one Job a scan and
// attempt, one pod a Job, and no second try.
//
// Guarantees: a pod passes the "restricted" Pod Security Standard, has no
// service-account token, no service links, no name server, a read-only root,
// and limits on processor, memory, disk and time. Its environment holds one
// address, that of the registry proxy, good for this attempt only. The source
// comes through a trusted init container whose address for it works once and is
// in no environment of what runs later. Creating a Job twice creates one.
//
// What Kubernetes can't bound: an ephemeral-storage limit evicts after the
// fact, and a pod that admission refuses, or that fits on no node, shows only
// in the Job's events and status. Whoever watches Jobs turns that into a reason.
package kubernetes

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/ecosystem"
	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Kind is how events name this driver.
const Kind = "kubernetes"

// The labels on a Job and its pod, and the names of its containers.
const (
	LabelScan    = "falconer.dev/scan-id"
	LabelAttempt = "falconer.dev/attempt"
	LabelName    = "app.kubernetes.io/name"
	AppName      = "falconer-scan"
	StageName    = "stage"   // trusted, ends before the other starts
	InstallName  = "install" // runs the project's install
)

// Times of a Job.
const (
	// StageTime is what a Job gets beside the scan's own timeout: for a node to
	// take the pod, for images and for the source. Kubernetes counts from the
	// Job's creation.
	StageTime = 5 * time.Minute
	// TTL is how long a Job stays after its end, for whoever watches to read its
	// log and status.
	TTL = 15 * time.Minute
	// grace is what the pod's processes get between SIGTERM and SIGKILL.
	grace = 5 * time.Second
)

// Config is what all Jobs have in common.
type Config struct {
	Namespace string
	Image     string // has node, npm, sh and sleep, and a PATH
	// Images are for the recipes whose Image is another than "npm", by that name.
	Images       map[string]string
	StageImage   string // its entry point is the program stage
	RuntimeClass string // "" is the cluster's default
	// NoHostUsers gives each pod a user namespace of its own, where nodes can.
	NoHostUsers bool
	// AppArmor asks for the runtime's profile, without which Kubernetes has the
	// runtime's default anyway; a node without AppArmor rejects a pod that asks.
	AppArmor bool
	// NodeDir is where Image has include/node for native builds, "" for nowhere.
	NodeDir string
	Limits  Limits
}

// Limits bound one pod. A zero quantity means the default.
type Limits struct {
	CPU    resource.Quantity // default 2
	Memory resource.Quantity // default 4 GiB, Temp included
	Work   resource.Quantity // of the project's directory; default 4 GiB
	Home   resource.Quantity // of the home directory, npm's cache included; default 2 GiB
	Temp   resource.Quantity // of /tmp, in memory; default 512 MiB
}

func (l Limits) orDefault() Limits {
	for q, d := range map[*resource.Quantity]string{&l.CPU: "2", &l.Memory: "4Gi", &l.Work: "4Gi", &l.Home: "2Gi", &l.Temp: "512Mi"} {
		if q.IsZero() {
			*q = resource.MustParse(d)
		}
	}
	return l
}

// Spec is one attempt at a scan.
type Spec struct {
	Request scan.Request
	Attempt int              // from 1
	Recipe  ecosystem.Recipe // made with Config.Setting
	Source  string           // address of the source archive; works once
	Expires time.Time        // until when Source works
	Canary  canary.Seed      // of the credentials to plant; a secret
}

// image returns what a recipe runs in.
func (c Config) image(r ecosystem.Recipe) (ref string, ok bool) {
	if ref, ok := c.Images[r.Image]; ok {
		return ref, true
	}
	return c.Image, r.Image == npm.Name
}

// Equipped says what a recipe lacks here: an image, or a registry. The error is
// fault.Permanent.
func (c Config) Equipped(r ecosystem.Recipe) error {
	if _, ok := c.image(r); !ok {
		return fault.Errorf(fault.Permanent, "there is no sandbox image for %s on this cluster: name one that has %s in FALCONER_SANDBOX_IMAGES (%s=IMAGE)",
			r.Image, strings.Join(r.Names(), ", "), r.Image)
	}
	if r.Registry != ecosystem.RegistryNPM && r.Registry != "" {
		return fault.Errorf(fault.Permanent, "the cluster's registry service has no way to registries of the kind %q, which %s asks: scan this project with falconer scan", r.Registry, r.Image)
	}
	return nil
}

// Setting is what a project's recipe has to know of the pod. registry is the
// address of the registry proxy.
func (c Config) Setting(root, registry string) ecosystem.Setting {
	return ecosystem.Setting{Registry: registry, Home: guest.BuilderHome, Work: guest.Dir(root), NodeDir: c.NodeDir}
}

// JobName is the name of the Job of an attempt. Alerts are joined to scans by
// its beginning.
func JobName(id scan.ID, attempt int) string {
	if attempt <= 1 {
		return AppName + "-" + string(id)
	}
	return fmt.Sprintf("%s-%s-%d", AppName, id, attempt)
}

// Deadline is how long a Job may take from its creation on.
func Deadline(r scan.Request) time.Duration { return r.Timeout() + StageTime }

// labels are those of an attempt's Job and pod.
func labels(id scan.ID, attempt int) map[string]string {
	return map[string]string{LabelName: AppName, LabelScan: string(id), LabelAttempt: strconv.Itoa(attempt)}
}
