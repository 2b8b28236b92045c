package jobwatch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/sandbox/kubernetes"
)

// Cluster is what jobwatch asks of the namespace of scans' Jobs. Errors are
// transient but for ErrNoJob.
type Cluster interface {
	// Job returns a Job, or ErrNoJob.
	Job(ctx context.Context, name string) (*batchv1.Job, error)
	// Jobs returns all Jobs of scans.
	Jobs(ctx context.Context) ([]batchv1.Job, error)
	// Pods returns a Job's pods.
	Pods(ctx context.Context, job string) ([]corev1.Pod, error)
	// Events returns the newest events about a Job or a pod, MaxEvents at most.
	Events(ctx context.Context, kind, name string) ([]corev1.Event, error)
	// Log opens the end of a container's output, LogBytes and LogLines at most;
	// the caller closes it. It is nil where there is none: the container never
	// ran, or is gone.
	Log(ctx context.Context, pod, container string) (io.ReadCloser, error)
	// Delete removes the Job of this UID with its pods; one that is gone, or was
	// replaced, is no error.
	Delete(ctx context.Context, name string, uid types.UID) error
}

// ErrNoJob is returned by Cluster.Job for a Job that does not exist.
var ErrNoJob = errors.New("no such Job")

// Bounds of what is read.
const (
	LogLines  = 500
	LogBytes  = 1 << 20
	MaxEvents = 200
	pageSize  = 200
)

// Limits on requests to the API server.
const (
	requestTimeout = 10 * time.Second
	queriesASecond = 50
	queriesAtOnce  = 100
)

// Client is a Cluster over the API server's REST interface. client-go's own
// typed clients bring every API group's types along, which doubles a function's
// binary and its start.
type Client struct {
	batch, core rest.Interface
	params      runtime.ParameterCodec
	namespace   string
}

var _ Cluster = (*Client)(nil)

// InCluster makes a Client with the credentials of the pod's service account.
// It talks to nobody yet.
func InCluster(namespace string) (*Client, error) {
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fault.New("jobwatch: read the service account", fault.Permanent, err)
	}
	return NewClient(c, namespace)
}

// NewClient makes a Client. It talks to nobody yet.
func NewClient(c *rest.Config, namespace string) (*Client, error) {
	const op = "jobwatch: make a client"
	scheme := runtime.NewScheme()
	if err := errors.Join(batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, fault.New(op, fault.Permanent, err)
	}
	c = rest.CopyConfig(c)
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.Timeout, c.QPS, c.Burst, c.UserAgent = requestTimeout, queriesASecond, queriesAtOnce, "falconer-"+Name
	shared, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fault.New(op, fault.Permanent, err)
	}
	batch, err1 := group(c, "/apis", batchv1.SchemeGroupVersion, shared)
	core, err2 := group(c, "/api", corev1.SchemeGroupVersion, shared)
	return &Client{batch, core, runtime.NewParameterCodec(scheme), namespace}, fault.New(op, fault.Permanent, errors.Join(err1, err2))
}

func group(c *rest.Config, path string, gv schema.GroupVersion, shared *http.Client) (rest.Interface, error) {
	c = rest.CopyConfig(c)
	c.APIPath, c.GroupVersion = path, &gv
	return rest.RESTClientForConfigAndClient(c, shared)
}

// Job implements Cluster.
func (c *Client) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	j := &batchv1.Job{}
	err := c.batch.Get().Namespace(c.namespace).Resource("jobs").Name(name).Do(ctx).Into(j)
	if apierrors.IsNotFound(err) {
		return nil, fault.New("jobwatch: get Job", fault.Permanent, ErrNoJob)
	}
	return j, fault.New("jobwatch: get Job", fault.Transient, err)
}

// Jobs implements Cluster.
func (c *Client) Jobs(ctx context.Context) (all []batchv1.Job, err error) {
	o := metav1.ListOptions{LabelSelector: kubernetes.LabelName + "=" + kubernetes.AppName, Limit: pageSize}
	for {
		var page batchv1.JobList
		if err := c.batch.Get().Namespace(c.namespace).Resource("jobs").VersionedParams(&o, c.params).Do(ctx).Into(&page); err != nil {
			return nil, fault.New("jobwatch: list Jobs", fault.Transient, err)
		}
		all = append(all, page.Items...)
		if o.Continue = page.Continue; o.Continue == "" {
			return all, nil
		}
	}
}

// Pods implements Cluster.
func (c *Client) Pods(ctx context.Context, job string) ([]corev1.Pod, error) {
	o := metav1.ListOptions{LabelSelector: labels.Set{batchv1.JobNameLabel: job}.String(), Limit: pageSize}
	var list corev1.PodList
	err := c.core.Get().Namespace(c.namespace).Resource("pods").VersionedParams(&o, c.params).Do(ctx).Into(&list)
	return list.Items, fault.New("jobwatch: list pods", fault.Transient, err)
}

// Events implements Cluster.
func (c *Client) Events(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	o := metav1.ListOptions{FieldSelector: fields.Set{"involvedObject.kind": kind, "involvedObject.name": name}.String(), Limit: MaxEvents}
	var list corev1.EventList
	err := c.core.Get().Namespace(c.namespace).Resource("events").VersionedParams(&o, c.params).Do(ctx).Into(&list)
	return list.Items, fault.New("jobwatch: list events", fault.Transient, err)
}

// Log implements Cluster.
func (c *Client) Log(ctx context.Context, pod, container string) (io.ReadCloser, error) {
	o := corev1.PodLogOptions{Container: container, TailLines: new(int64(LogLines)), LimitBytes: new(int64(LogBytes))}
	r, err := c.core.Get().Namespace(c.namespace).Resource("pods").Name(pod).SubResource("log").VersionedParams(&o, c.params).Stream(ctx)
	if apierrors.IsNotFound(err) || apierrors.IsBadRequest(err) {
		return nil, nil
	}
	return r, fault.New("jobwatch: read log", fault.Transient, err)
}

// Delete implements Cluster.
func (c *Client) Delete(ctx context.Context, name string, uid types.UID) error {
	o := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground), Preconditions: &metav1.Preconditions{UID: &uid}}
	err := c.batch.Delete().Namespace(c.namespace).Resource("jobs").Name(name).Body(&o).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fault.New("jobwatch: delete Job", fault.Transient, err)
}
