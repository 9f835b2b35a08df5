package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
)

// natsNodes is how many servers the cluster has.
const natsNodes = 3

// natsTimeout bounds what the cluster takes to agree: to start, to choose another leader, to
// bring a server that was away up to date.
const natsTimeout = 90 * time.Second

// cluster is NATS servers that know each other, each a process of its own.
type cluster struct {
	*testing.T
	folder string
	places []place
	ports  []int // of the servers for clients
	logs   []*journal
	nodes  []*server // nil while one is down
	stream jetstream.JetStream
}

// newCluster starts a cluster with its files in the folder, and waits until a stream can be on
// all of its servers. It ends with the test. The servers run where it says, or here.
func newCluster(t *testing.T, folder string, places ...place) *cluster {
	t.Helper()
	if len(places) == 0 {
		places = slices.Repeat([]place{{host: "127.0.0.1"}}, natsNodes)
	}
	c := &cluster{T: t, folder: folder, places: places, nodes: make([]*server, natsNodes)}
	ports := freePorts(t, 2*natsNodes)
	c.ports = ports[:natsNodes]
	var routes []string
	for i, port := range ports[natsNodes:] {
		routes = append(routes, fmt.Sprintf("nats://%s:%d", places[i].host, port))
	}
	for i := range natsNodes { // without a limit of its own a server takes part of the disk for one, which may be small
		text := fmt.Sprintf("server_name: n%d\nlisten: \"%s:%d\"\njetstream { store_dir: %q, max_file_store: 16GB }\n"+
			"cluster { name: test, listen: \"%s:%d\", routes: [%s] }\n",
			i, places[i].host, c.ports[i], c.store(i), places[i].host, ports[natsNodes+i], strings.Join(routes, ", "))
		if err := os.WriteFile(c.store(i)+".conf", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.logs = append(c.logs, newJournal())
		c.start(i)
	}
	t.Cleanup(c.close)
	conn, err := nats.Connect(c.url(), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if c.stream, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	c.await("a stream on all servers", func(ctx context.Context) error {
		const trial = "trial"
		if _, err := c.stream.CreateStream(ctx, jetstream.StreamConfig{Name: trial, Replicas: natsNodes}); err != nil {
			return err
		}
		return c.stream.DeleteStream(ctx, trial)
	})
	return c
}

// store is the folder of a server's files.
func (c *cluster) store(i int) string { return filepath.Join(c.folder, fmt.Sprint("n", i)) }

// url lists all servers.
func (c *cluster) url() string {
	var urls []string
	for i, port := range c.ports {
		urls = append(urls, fmt.Sprintf("nats://%s:%d", c.places[i].host, port))
	}
	return strings.Join(urls, ",")
}

func (c *cluster) start(i int) {
	c.Helper()
	cmd := c.places[i].command(os.Getenv(natsVariable), "--config", c.store(i)+".conf")
	cmd.Stderr = c.logs[i]
	c.nodes[i] = launch(c, cmd)
}

// kill ends a server as a power cut would end it, as far as a process can see.
func (c *cluster) kill(i int) {
	c.Helper()
	_ = c.nodes[i].cmd.Process.Kill() // it may be gone
	<-c.nodes[i].ended
	c.nodes[i] = nil
}

func (c *cluster) close() {
	for i, node := range c.nodes {
		if node != nil {
			c.kill(i)
		}
		if c.Failed() {
			c.Logf("the end of the log of NATS server n%d:\n%s", i, c.logs[i].tail(logTail/2))
		}
	}
}

// await tries until it works.
func (c *cluster) await(what string, try func(context.Context) error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natsTimeout)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		turn, end := context.WithTimeout(ctx, 2*time.Second)
		err := try(turn)
		end()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			c.Fatalf("%s: not so after %v: %v", what, natsTimeout, err)
		}
	}
}

// whole waits until the stream is on all servers, each of them up to date, and gives the
// server that leads it.
func (c *cluster) whole() (leader int) {
	c.Helper()
	c.await("the stream is whole", func(ctx context.Context) error {
		stream, err := c.stream.Stream(ctx, event.StreamName)
		if err != nil {
			return err
		}
		info := stream.CachedInfo()
		if info.Config.Replicas != natsNodes {
			return fmt.Errorf("the stream has %d replicas, want %d", info.Config.Replicas, natsNodes)
		}
		if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != natsNodes-1 {
			return errors.New("no leader, or not all of the others")
		}
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				return fmt.Errorf("server %s is behind", peer.Name)
			}
		}
		if _, err := fmt.Sscanf(info.Cluster.Leader, "n%d", &leader); err != nil {
			return fmt.Errorf("leader %s: %w", info.Cluster.Leader, err)
		}
		return nil
	})
	return leader
}

// Ports that are tried for servers which must come back on the one they had: below those
// that systems give to clients, one of which could take it meanwhile.
const (
	minPort = 15_000
	maxPort = 30_000
)

// freePorts gives ports that nobody listened at just now.
func freePorts(t *testing.T, count int) (ports []int) {
	t.Helper()
	for tries := 0; len(ports) < count; tries++ {
		port := minPort + rand.IntN(maxPort-minPort)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries > 100 {
				t.Fatalf("find free ports: %v", err)
			}
			continue
		}
		defer func() { _ = listener.Close() }() // all at the end, so that they differ
		ports = append(ports, port)
	}
	return ports
}
