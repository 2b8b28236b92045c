//go:build !race

package trigger

import (
	"testing"

	"go.uber.org/zap"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"sigs.k8s.io/yaml"
)

// TestKnativeAgrees holds our combinators against Knative's. It stays out of
// race builds, because the library's all and any filters race with themselves.
func TestKnativeAgrees(t *testing.T) {
	events := filterEvents()
	for _, tt := range filterCases {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := loadOne(t, doc("  filters: "+tt.filters+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			var spec []eventingv1.SubscriptionsAPIFilter
			if err := yaml.Unmarshal([]byte(tt.filters), &spec); err != nil {
				t.Fatal(err)
			}
			theirs := subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), spec)
			defer theirs.Cleanup()
			for typ, e := range events {
				ours, err := tr.Match(e)
				if err != nil {
					t.Fatal(err)
				}
				if knative := theirs.Filter(t.Context(), e) != eventfilter.FailFilter; knative != ours {
					t.Errorf("event %s: Knative says %t, we say %t", typ, knative, ours)
				}
			}
		})
	}
}
