package falco

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// podLabel is the label by which the Kubernetes driver marks a scan's pods, as
// Falco shows it; podPrefix starts the names of its Jobs and pods.
const (
	podLabel  = "k8s.pod.label[falconer.dev/scan-id]"
	podPrefix = "falconer-scan-"
)

// SandboxNamespace is where scans run in a cluster, unless it is set otherwise.
const SandboxNamespace = "falconer-sandbox"

// Scan is ScanIn of SandboxNamespace.
func (a Alert) Scan() (scan.ID, bool) { return a.ScanIn(SandboxNamespace) }

// ScanIn returns the scan that the alert belongs to, and whether it names one.
// namespace is where scans run.
//
// Sources are asked in the order of how hard they are to forge:
//
//   - the sensor's own field, which the gate takes from our sensor only;
//   - the pod's label, then the pod's or Job's name. Whoever may create a pod
//     anywhere chooses both: where Falco names a namespace, they count in the
//     scans' alone, in which nobody but Falconer creates pods;
//   - the marker in the process environment, which any process can set for its
//     children: only where Falco names neither pod nor Job (it did not know, or
//     there is none) and no other namespace. A process in a pod that is known
//     can't be taken for another scan's by it, nor a scan's for none.
//
// A source whose value is not a UUID is passed over.
func (a Alert) ScanIn(namespace string) (scan.ID, bool) {
	sources := []string{a.Field(FieldScanID)}
	ns, pod, job := a.known("k8s.ns.name"), a.known("k8s.pod.name"), a.known("k8s.job.name")
	if ns == "" || ns == namespace {
		sources = append(sources, a.Field(podLabel), podScan(pod), podScan(job))
		if pod == "" && job == "" {
			sources = append(sources, a.Field("proc.env["+MarkerEnv+"]"))
		}
	}
	for _, s := range sources {
		if len(s) != 36 {
			continue
		}
		if id, err := scan.ParseID(s); err == nil {
			return id, true
		}
	}
	return "", false
}

// known is a field of Falco's own, "" where Falco says that it has no value.
func (a Alert) known(name string) string {
	if s := a.Field(name); s != "<NA>" {
		return s
	}
	return ""
}

// podScan returns the UUID in "falconer-scan-<uuid>" or
// "falconer-scan-<uuid>-<suffix>", or "".
func podScan(name string) string {
	rest, ok := strings.CutPrefix(name, podPrefix)
	if !ok || len(rest) < 36 || (len(rest) > 36 && rest[36] != '-') {
		return ""
	}
	return rest[:36]
}

// Pod returns the Kubernetes namespace and pod of the alert, "" where Falco
// knew none.
func (a Alert) Pod() (namespace, pod string) {
	return a.known("k8s.ns.name"), a.known("k8s.pod.name")
}

// Place says on whose behalf the alerting process ran.
type Place struct {
	Package finding.Package // zero when unknown, or for the project itself
	Script  string
	Phase   string
	// Claimed marks a place that only the process's environment names. npm sets
	// those variables, but a process can change them for its children: good for
	// a hint, not for proof.
	Claimed bool
}

// npm's rules for what these variables can hold.
var (
	npmName    = regexp.MustCompile(`^(@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*$`)
	npmVersion = regexp.MustCompile(`^[0-9A-Za-z.+-]{1,128}$`)
	npmScript  = regexp.MustCompile(`^[A-Za-z0-9:_-]{1,64}$`)
)

// Place returns where the alert comes from: the sensor's fields if it set
// them, else what npm's environment variables claim.
func (a Alert) Place() Place {
	p := Place{Script: a.Field(FieldScript), Phase: a.Field(FieldPhase)}
	p.Package.Path = a.Field(FieldPath)
	if purl := a.Field(FieldPackage); purl != "" {
		p.Package.PURL = purl
		p.Package.Name, p.Package.Version = splitPURL(purl)
	}
	if p != (Place{}) {
		p.Claimed = a.Field(FieldClaimed) == "true"
		return p
	}
	name, version := a.Field("proc.env[npm_package_name]"), a.Field("proc.env[npm_package_version]")
	script := a.Field("proc.env[npm_lifecycle_event]")
	if npmScript.MatchString(script) {
		p.Script, p.Phase, p.Claimed = script, "install", true
	}
	if len(name) > 214 || !npmName.MatchString(name) {
		return p
	}
	p.Claimed = true
	p.Package.Name = name
	p.Package.PURL = "pkg:npm/" + strings.Replace(name, "@", "%40", 1)
	if npmVersion.MatchString(version) {
		p.Package.Version = version
		p.Package.PURL += "@" + url.PathEscape(version)
	}
	return p
}

// splitPURL returns the name, with its namespace, and the version of a package
// URL: "pkg:npm/%40acme/tool@1.0.0" yields "@acme/tool" and "1.0.0".
func splitPURL(purl string) (name, version string) {
	_, rest, ok := strings.Cut(purl, "/")
	if !ok || !strings.HasPrefix(purl, "pkg:") {
		return "", ""
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	name = rest
	if i := strings.LastIndexByte(rest, '@'); i > 0 && !strings.Contains(rest[i:], "/") {
		name, version = rest[:i], rest[i+1:]
	}
	return unescape(name), unescape(version)
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
