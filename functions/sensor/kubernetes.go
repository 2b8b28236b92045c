package sensor

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Follow keeps a Table up to date with the scan pods of a node until ctx ends.
// The API server may be away meanwhile: what is known stays known.
func Follow(ctx context.Context, c typed.PodsGetter, namespace, node string, t *Table) {
	pods := c.Pods(namespace)
	narrow := func(o *metav1.ListOptions) {
		o.LabelSelector = podSelector
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				narrow(&o)
				return pods.List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
				narrow(&o)
				return pods.Watch(ctx, o)
			},
		},
		ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { set(t, o) },
			UpdateFunc: func(_, o any) { set(t, o) },
			DeleteFunc: func(o any) { remove(t, o) },
		},
	})
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			t.Listed()
		}
	}()
	informer.RunWithContext(ctx)
	<-listed
}

func set(t *Table, o any) {
	if p, ok := o.(*corev1.Pod); ok {
		t.Set(p)
	}
}

func remove(t *Table, o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if p, ok := o.(*corev1.Pod); ok {
		t.Delete(p)
	}
}
