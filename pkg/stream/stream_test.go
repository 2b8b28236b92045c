package stream_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/eventtest"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/stream"
)

// store opens a store of one kind under terms; ttl and description are what its
// configurations differ in.
type store func(t *testing.T, js jetstream.JetStream, ttl time.Duration, terms stream.Terms) error

var kinds = map[string]struct {
	name string // of the stream
	open store
}{
	"stream": {"S", func(t *testing.T, js jetstream.JetStream, ttl time.Duration, terms stream.Terms) error {
		_, err := stream.Open(t.Context(), js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxAge: ttl, Storage: jetstream.FileStorage}, terms)
		return err
	}},
	"bucket": {"KV_b", func(t *testing.T, js jetstream.JetStream, ttl time.Duration, terms stream.Terms) error {
		_, err := stream.KeyValue(t.Context(), js, jetstream.KeyValueConfig{Bucket: "b", TTL: ttl, Storage: jetstream.FileStorage}, terms)
		return err
	}},
	"objects": {"OBJ_o", func(t *testing.T, js jetstream.JetStream, ttl time.Duration, terms stream.Terms) error {
		_, err := stream.Objects(t.Context(), js, jetstream.ObjectStoreConfig{Bucket: "o", TTL: ttl, Storage: jetstream.FileStorage}, terms)
		return err
	}},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

func configOf(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	must(t, err)
	return s.CachedInfo().Config
}

// asked counts what the server is asked to update and create.
func asked(t *testing.T, nc *nats.Conn) func() int {
	t.Helper()
	subs := make([]*nats.Subscription, 0, 2)
	for _, subject := range []string{"$JS.API.STREAM.UPDATE.*", "$JS.API.STREAM.CREATE.*"} {
		sub, err := nc.SubscribeSync(subject)
		must(t, err)
		subs = append(subs, sub)
	}
	must(t, nc.Flush())
	return func() (n int) {
		must(t, nc.Flush())
		for _, s := range subs {
			pending, _, err := s.Pending()
			must(t, err)
			n += pending
			for range pending {
				_, err := s.NextMsg(time.Second)
				must(t, err)
			}
		}
		return n
	}
}

// TestOwnerAndGuests: a guest creates what is missing and changes nothing, the
// owner changes what differs, and nobody asks for a change without one.
func TestOwnerAndGuests(t *testing.T) {
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			nc := eventtest.NATS(t)
			js := client(t, nc)
			changes := asked(t, nc)
			open := func(ttl time.Duration, terms stream.Terms, requests int, want time.Duration) {
				t.Helper()
				must(t, k.open(t, js, ttl, terms))
				if n := changes(); n != requests {
					t.Errorf("the server was asked for %d changes, not %d", n, requests)
				}
				if got := configOf(t, js, k.name).MaxAge; got != want {
					t.Errorf("kept for %s, not %s", got, want)
				}
			}
			open(time.Hour, stream.Terms{Guest: true}, 1, time.Hour)
			open(2*time.Hour, stream.Terms{Guest: true}, 0, time.Hour)
			open(time.Hour, stream.Terms{}, 0, time.Hour)
			open(2*time.Hour, stream.Terms{}, 1, 2*time.Hour)
			open(2*time.Hour, stream.Terms{}, 0, 2*time.Hour)
		})
	}
}

// TestOwnerKeepsWhatItDoesNotAskFor: what an administrator set stays.
func TestOwnerKeepsWhatItDoesNotAskFor(t *testing.T) {
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			js := client(t, eventtest.NATS(t))
			must(t, k.open(t, js, time.Hour, stream.Terms{}))
			c := configOf(t, js, k.name)
			c.Metadata["team"], c.MaxMsgs = "security", 12345
			_, err := js.UpdateStream(t.Context(), c)
			must(t, err)
			must(t, k.open(t, js, 2*time.Hour, stream.Terms{}))
			if got := configOf(t, js, k.name); got.Metadata["team"] != "security" || got.MaxMsgs != 12345 || got.MaxAge != 2*time.Hour {
				t.Errorf("it became %+v", got)
			}
		})
	}
}

func TestRefusedConfiguration(t *testing.T) {
	js := client(t, eventtest.NATS(t))
	_, err := stream.Open(t.Context(), js, jetstream.StreamConfig{Name: "T", Subjects: []string{"s"}}, stream.Terms{})
	must(t, err)
	_, err = stream.Open(t.Context(), js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}, stream.Terms{})
	if err == nil || fault.KindOf(err) != fault.Permanent {
		t.Errorf("another stream's subject: %v", err)
	}
	_, err = stream.Open(t.Context(), js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}, stream.Terms{Replicas: 3})
	if err == nil || fault.KindOf(err) == fault.Invalid {
		t.Errorf("three replicas on one server: %v", err)
	}
}

// TestGuestNeedsNoPermissionToUpdate lets a user in who may look and create.
func TestGuestNeedsNoPermissionToUpdate(t *testing.T) {
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{{Username: "owner", Password: "o"}, {Username: "guest", Password: "g", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.UPDATE.>"}},
		}}},
	})
	must(t, err)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(eventtest.Patience) {
		t.Fatal("the server is not ready")
	}
	as := func(user, password string) jetstream.JetStream {
		nc, err := nats.Connect(ns.ClientURL(), nats.UserInfo(user, password))
		must(t, err)
		t.Cleanup(nc.Close)
		return client(t, nc)
	}
	guest, owner := as("guest", "g"), as("owner", "o")
	for kind, k := range kinds {
		for _, js := range []jetstream.JetStream{guest, owner, guest} {
			if err := k.open(t, js, time.Hour, stream.Terms{Guest: js == guest}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

// TestReplicas: the number is raised by the owner and lowered by nobody.
func TestReplicas(t *testing.T) {
	cluster := eventtest.NATSCluster(t, 3)
	js := client(t, cluster.Connect("test"))
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			for _, step := range []struct {
				terms stream.Terms
				want  int
			}{
				{stream.Terms{Guest: true}, 1},
				{stream.Terms{Replicas: 3, Guest: true}, 1},
				{stream.Terms{Replicas: 3}, 3},
				{stream.Terms{}, 3},
				{stream.Terms{Replicas: 1, Guest: true}, 3},
			} {
				eventually(t, func() error { return k.open(t, js, time.Hour, step.terms) })
				if n := configOf(t, js, k.name).Replicas; n != step.want {
					t.Errorf("%+v: %d replicas, not %d", step.terms, n, step.want)
				}
			}
		})
	}
}

// TestAllAtOnce opens a store from many functions, none of which finds it, with
// configurations that differ.
func TestAllAtOnce(t *testing.T) {
	cluster := eventtest.NATSCluster(t, 3)
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			var all sync.WaitGroup
			for n := range 8 {
				js := client(t, cluster.Connect(fmt.Sprint(n)))
				all.Go(func() {
					if err := k.open(t, js, time.Duration(n%2+1)*time.Hour, stream.Terms{Replicas: 3, Guest: n != 0}); err != nil {
						t.Errorf("%d: %v", n, err)
					}
				})
			}
			all.Wait()
			js := client(t, cluster.Connect("test"))
			if c := configOf(t, js, k.name); c.Replicas != 3 || c.MaxAge != time.Hour {
				t.Errorf("%d replicas, kept for %s: not as its owner wants", c.Replicas, c.MaxAge)
			}
		})
	}
}

// TestLeaderStops writes to a bucket of three replicas while the server that
// leads it stops and returns, then the next: what was acknowledged is there.
func TestLeaderStops(t *testing.T) {
	cluster := eventtest.NATSCluster(t, 3)
	js := client(t, cluster.Connect("test"))
	var kv jetstream.KeyValue
	eventually(t, func() (err error) {
		kv, err = stream.KeyValue(t.Context(), js, jetstream.KeyValueConfig{Bucket: "b", Storage: jetstream.FileStorage}, stream.Terms{Replicas: 3})
		return err
	})
	stop, acknowledged := make(chan struct{}), map[string]string{}
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			key, value := fmt.Sprint("k", n), fmt.Sprint("v", n)
			if _, err := kv.PutString(t.Context(), key, value); err == nil {
				acknowledged[key] = value
			}
		}
	})
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		leader := cluster.Leader(js, "KV_b")
		cluster.Stop(leader)
		time.Sleep(300 * time.Millisecond)
		cluster.Start(leader)
	}
	close(stop)
	writing.Wait()
	if len(acknowledged) < 20 {
		t.Fatalf("only %d writes were acknowledged", len(acknowledged))
	}
	for key, want := range acknowledged {
		eventually(t, func() error {
			e, err := kv.Get(t.Context(), key)
			if err == nil && string(e.Value()) != want {
				t.Fatalf("%s is %q, not %q", key, e.Value(), want)
			}
			return err
		})
	}
}

// eventually repeats what may fail while a cluster changes.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * eventtest.Patience); ; time.Sleep(50 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if errors.Is(err, jetstream.ErrKeyNotFound) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
