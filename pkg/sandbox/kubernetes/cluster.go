package kubernetes

import (
	"context"
	"errors"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// ErrGone is returned (wrapped, fault.Transient) by Create when a Job of that
// name is about to be deleted.
var ErrGone = errors.New("a Job of this name is being deleted")

// pageSize bounds one answer of List.
const pageSize = 500

// Cluster creates, lists and deletes the Jobs of scans. It is safe for
// concurrent use.
type Cluster struct {
	Config Config
	Jobs   Jobs
}

// Create makes sure that the attempt's Job exists. Errors are fault.Permanent
// if the API server will never take this Job, and fault.Transient otherwise: a
// quota that is full, a right that is missing, a server that is down.
func (c Cluster) Create(ctx context.Context, s Spec) error {
	const op = "kubernetes: create Job"
	j := c.Config.Job(s)
	_, err := c.Jobs.Create(ctx, j, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return c.same(ctx, j)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return fault.New(op, fault.Permanent, err)
	}
	return fault.New(op, fault.Transient, err)
}

// same checks that a Job that exists is the one wanted.
func (c Cluster) same(ctx context.Context, want *batchv1.Job) error {
	const op = "kubernetes: look at the Job that exists"
	got, err := c.Jobs.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return fault.New(op, fault.Transient, err)
	}
	if got.DeletionTimestamp != nil {
		return fault.New(op, fault.Transient, ErrGone)
	}
	for name, value := range want.Labels {
		if got.Labels[name] != value {
			return fault.Errorf(fault.Permanent, "%s: %s belongs to somebody else", op, want.Name)
		}
	}
	return nil
}

// Delete ends an attempt's Job and its pod. One that does not exist is no
// error; others are fault.Transient.
func (c Cluster) Delete(ctx context.Context, id scan.ID, attempt int) error {
	err := c.Jobs.Delete(ctx, JobName(id, attempt), metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fault.New("kubernetes: delete Job", fault.Transient, err)
}

// Listed is a Job that exists.
type Listed struct {
	ID      scan.ID
	Attempt int
	Created time.Time
	Ended   bool // completed or failed, or about to be deleted
}

// List returns the Jobs of scans. What has the label of one and not its other
// labels is left out. Errors are fault.Transient.
func (c Cluster) List(ctx context.Context) ([]Listed, error) {
	var out []Listed
	o := metav1.ListOptions{LabelSelector: LabelName + "=" + AppName, Limit: pageSize}
	for {
		page, err := c.Jobs.List(ctx, o)
		if err != nil {
			return nil, fault.New("kubernetes: list Jobs", fault.Transient, err)
		}
		for _, j := range page.Items {
			id, err := scan.ParseID(j.Labels[LabelScan])
			attempt, aerr := strconv.Atoi(j.Labels[LabelAttempt])
			if err == nil && aerr == nil && j.Name == JobName(id, attempt) {
				out = append(out, Listed{ID: id, Attempt: attempt, Created: j.CreationTimestamp.Time, Ended: ended(j)})
			}
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return out, nil
		}
	}
}

func ended(j batchv1.Job) bool {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == "True" {
			return true
		}
	}
	return j.DeletionTimestamp != nil
}
