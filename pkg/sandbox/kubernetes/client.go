package kubernetes

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// Jobs is what the driver asks of one namespace of a cluster: a part of
// client-go's JobInterface, with its errors.
type Jobs interface {
	Create(context.Context, *batchv1.Job, metav1.CreateOptions) (*batchv1.Job, error)
	Get(context.Context, string, metav1.GetOptions) (*batchv1.Job, error)
	List(context.Context, metav1.ListOptions) (*batchv1.JobList, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// Client is Jobs over the API server's REST interface. client-go's own typed
// client brings every API group's types along, which doubles a function's
// binary and its start.
type Client struct {
	rest      rest.Interface
	params    runtime.ParameterCodec
	namespace string
}

var _ Jobs = (*Client)(nil)

// Limits on requests to the API server.
const (
	requestTimeout = 10 * time.Second
	queriesASecond = 50
	queriesAtOnce  = 100
)

// InCluster makes a Client with the credentials of the pod's service account.
// It talks to nobody yet.
func InCluster(namespace string) (*Client, error) {
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fault.New("kubernetes: read the service account", fault.Permanent, err)
	}
	return NewClient(c, namespace)
}

// At makes a Client of an API server that asks for no credentials, such as
// `kubectl proxy`. It talks to nobody yet.
func At(url, namespace string) (*Client, error) {
	return NewClient(&rest.Config{Host: url}, namespace)
}

// NewClient makes a Client. It talks to nobody yet.
func NewClient(c *rest.Config, namespace string) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := batchv1.AddToScheme(scheme); err != nil {
		return nil, fault.New("kubernetes: make a client", fault.Permanent, err)
	}
	c = rest.CopyConfig(c)
	c.APIPath, c.GroupVersion = "/apis", &batchv1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.Timeout, c.QPS, c.Burst = requestTimeout, queriesASecond, queriesAtOnce
	c.UserAgent = "falconer-runner"
	r, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fault.New("kubernetes: make a client", fault.Permanent, err)
	}
	return &Client{rest: r, params: runtime.NewParameterCodec(scheme), namespace: namespace}, nil
}

// Create implements Jobs.
func (c *Client) Create(ctx context.Context, j *batchv1.Job, o metav1.CreateOptions) (*batchv1.Job, error) {
	out := &batchv1.Job{}
	return out, c.rest.Post().Namespace(c.namespace).Resource("jobs").VersionedParams(&o, c.params).Body(j).Do(ctx).Into(out)
}

// Get implements Jobs.
func (c *Client) Get(ctx context.Context, name string, o metav1.GetOptions) (*batchv1.Job, error) {
	out := &batchv1.Job{}
	return out, c.rest.Get().Namespace(c.namespace).Resource("jobs").Name(name).VersionedParams(&o, c.params).Do(ctx).Into(out)
}

// List implements Jobs.
func (c *Client) List(ctx context.Context, o metav1.ListOptions) (*batchv1.JobList, error) {
	out := &batchv1.JobList{}
	return out, c.rest.Get().Namespace(c.namespace).Resource("jobs").VersionedParams(&o, c.params).Do(ctx).Into(out)
}

// Delete implements Jobs.
func (c *Client) Delete(ctx context.Context, name string, o metav1.DeleteOptions) error {
	return c.rest.Delete().Namespace(c.namespace).Resource("jobs").Name(name).Body(&o).Do(ctx).Error()
}
