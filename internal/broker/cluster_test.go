package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
)

// cluster is three NATS servers that know each other.
type cluster struct {
	*testing.T
	options []server.Options
	servers []*server.Server
}

// newCluster starts them; change may change the options of each before.
func newCluster(t *testing.T, change ...func(i int, options *server.Options)) *cluster {
	t.Helper()
	const size = 3
	c := &cluster{T: t, servers: make([]*server.Server, size)}
	ports := freePorts(t, 2*size)
	var routes []*url.URL
	for _, port := range ports[size:] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	for i := range size {
		c.options = append(c.options, server.Options{
			ServerName: fmt.Sprintf("n%d", i), Port: ports[i], JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[size+i]},
		})
		for _, change := range change {
			change(i, &c.options[i])
		}
		c.start(i)
	}
	until(t, "leader of three", func() (any, bool) {
		for _, one := range c.servers {
			if one.JetStreamIsLeader() && len(one.JetStreamClusterPeers()) == size {
				return nil, true
			}
		}
		return "none", false
	})
	return c
}

func (c *cluster) start(i int) {
	c.Helper()
	c.servers[i] = run(c.T, c.options[i])
}

func (c *cluster) config() broker.ExternalConfig {
	var urls []string
	for _, options := range c.options {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", options.Port))
	}
	return broker.ExternalConfig{URL: strings.Join(urls, ", "), StreamBytes: 1 << 20, AckWait: 2 * time.Second}
}

// stream waits for the stream to have a leader and as many servers as wanted, all
// of them up to date.
func (b *bench) stream(replicas int) (info *jetstream.StreamInfo) {
	b.Helper()
	b.until("replicas", func() (any, bool) {
		stream, err := b.JetStream().Stream(b.Context(), event.StreamName)
		if err != nil {
			return err, false
		}
		info = stream.CachedInfo()
		return fmt.Sprintf("%+v %+v", info.Config, info.Cluster), info.Config.Replicas == replicas &&
			info.Cluster.Leader != "" && len(info.Cluster.Replicas) == replicas-1 &&
			!slices.ContainsFunc(info.Cluster.Replicas, func(peer *jetstream.PeerInfo) bool { return peer.Offline || !peer.Current })
	})
	return info
}

// flow sends claims and consumes them, until each has arrived. What fails is sent
// again, and what is not answered comes again, as on the line.
func (b *bench) flow(messages []event.ClaimAccepted) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*patience)
	defer cancel()
	sent := make(chan int)
	go func() {
		failures := 0
		for waiting := slices.Clone(messages); len(waiting) > 0 && ctx.Err() == nil; {
			some := waiting[:min(20, len(waiting))]
			waiting = slices.Clone(waiting[len(some):])
			for i, result := range b.Publish(ctx, some) {
				if result.Err != nil {
					failures++
					waiting = append(waiting, some[i])
				}
			}
		}
		sent <- failures
	}()
	missing := map[string]bool{}
	for _, message := range messages {
		missing[message.MessageID()] = true
	}
	for len(missing) > 0 && ctx.Err() == nil {
		got, err := b.Fetch(ctx, 50)
		for _, delivery := range got {
			delete(missing, delivery.MessageID)
			_ = delivery.Reply.Ack() // without it the message comes again
		}
		if err != nil {
			b.Logf("fetch: %v", err)
			pause(ctx)
		}
	}
	cancel()
	b.Logf("%d sends failed and were repeated", <-sent)
	if len(missing) > 0 {
		b.Fatalf("%d of %d messages never came", len(missing), len(messages))
	}
}

// pause is the wait of a consumer or a relay after a failure.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// A cluster of three keeps the stream three times. The server that leads it is killed
// while messages flow, and comes back later: every message arrives, and nobody
// lowers the replicas, not with a server away and a setting changed.
func TestClusterLosesServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	log := &journal{}
	b := dial(t, c.config(), log.logger())
	b.connected()
	leader := b.stream(3).Cluster.Leader
	b.flow(claims(1, 200))
	lost := slices.IndexFunc(c.options, func(o server.Options) bool { return o.ServerName == leader })
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		stop(c.servers[lost])
	}()
	b.flow(claims(1000, 2000))
	<-killed

	changed := c.config()
	changed.StreamBytes *= 2
	other := dial(t, changed, slog.New(slog.DiscardHandler))
	other.connected()
	other.flow(claims(4000, 100))
	c.start(lost)
	if got := other.stream(3).Config.MaxBytes; got != changed.StreamBytes {
		t.Errorf("bound of the stream: got %d, want %d", got, changed.StreamBytes)
	}
	b.flow(claims(5000, 200))
	if strings.Contains(log.String(), "made again") {
		t.Errorf("the log tells of a loss that was none:\n%s", log)
	}
	b.close()
	other.close()
}

// A stream that was made with one replica, when the cluster was smaller, gets three,
// and keeps them when somebody wants fewer.
func TestClusterReplicasOnlyRise(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	config := c.config()
	first := dial(t, config, slog.New(slog.DiscardHandler))
	first.connected()
	if err := first.JetStream().DeleteStream(t.Context(), event.StreamName); err != nil {
		t.Fatal(err)
	}
	if _, err := first.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name: event.StreamName, Subjects: []string{event.ClaimsSubject}, Replicas: 1,
	}); err != nil {
		t.Fatal(err)
	}
	second := dial(t, config, slog.New(slog.DiscardHandler))
	second.connected()
	second.stream(3)
	second.flow(claims(1, 20))
	if err := second.Want(t.Context(), 1); err != nil {
		t.Fatalf("want one replica: %v", err)
	}
	second.stream(3)
	first.close()
	second.close()
}

// A stream that was made while one server of three had no room for it gets its three
// replicas without a restart, once there is room; the log tells of both, once.
func TestClusterReplicasRiseMeanwhile(t *testing.T) {
	t.Parallel()
	const full = 2
	c := newCluster(t, func(i int, options *server.Options) {
		if i == full {
			options.JetStreamMaxStore = 1 << 10
		}
	})
	log := &journal{}
	b := dial(t, c.config(), log.logger())
	b.connected()
	b.until("a stream with one replica", func() (any, bool) {
		info, err := b.JetStream().Stream(b.Context(), event.StreamName)
		return err, err == nil && info.CachedInfo().Config.Replicas == 1
	})
	if err := b.Raise(t.Context()); err != nil {
		t.Errorf("raise while there is no room: %v", err)
	}
	stop(c.servers[full])
	c.options[full].JetStreamMaxStore = 1 << 30
	c.start(full)
	b.until("three replicas", func() (any, bool) {
		err := b.Raise(b.Context())
		info, _ := b.JetStream().Stream(b.Context(), event.StreamName)
		return err, info != nil && info.CachedInfo().Config.Replicas == 3
	})
	b.stream(3)
	b.flow(claims(1, 20))
	for _, once := range []string{"can not keep the stream on as many servers", "keeps the stream on as many servers"} {
		if got := strings.Count(log.String(), once); got != 1 {
			t.Errorf("log: got %q %d times, want once:\n%s", once, got, log)
		}
	}
	b.close()
}
