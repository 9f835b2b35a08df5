package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// The two networks of a fleet that is partitioned: one leads to Postgres, the other to NATS and
// to clients. Each is a bridge, at which this process has the first address.
const (
	dataNet = "crdata"
	wireNet = "crwire"
)

// subnets are their addresses, but for the last number.
var subnets = map[string]string{dataNet: "10.213.77.", wireNet: "10.214.77."}

// host is a network namespace with a cable to networks, which can be pulled.
type host struct {
	*torture
	number int
	peers  map[string]string // by network: where somebody takes connections from here
}

// newNetworks makes both bridges. They end with the test.
func (t *torture) newNetworks() {
	t.Helper()
	for _, net := range []string{dataNet, wireNet} {
		command(t, "ip", "link", "add", net, "type", "bridge")
		t.Cleanup(func() { command(t, "ip", "link", "del", net) })
		command(t, "ip", "addr", "add", subnets[net]+"1/24", "dev", net)
		command(t, "ip", "link", "set", net, "up")
	}
}

// newHost makes a namespace with cables to these networks. It ends with the test.
func (t *torture) newHost(number int, nets ...string) *host {
	t.Helper()
	h := &host{t, number, map[string]string{}}
	command(t, "ip", "netns", "add", h.name())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", h.name()).Run() })
	command(t, "ip", "-n", h.name(), "link", "set", "lo", "up")
	for _, net := range nets {
		command(t, "ip", "link", "add", h.cable(net), "type", "veth", "peer", "name", net, "netns", h.name())
		command(t, "ip", "-n", h.name(), "addr", "add", h.address(net)+"/24", "dev", net)
		command(t, "ip", "-n", h.name(), "link", "set", net, "up")
		command(t, "ip", "link", "set", h.cable(net), "up", "master", net)
	}
	return h
}

func (h *host) name() string { return fmt.Sprint("claimrail", h.number) }

func (h *host) cable(net string) string { return fmt.Sprint(net, h.number) }

func (h *host) address(net string) string { return fmt.Sprint(subnets[net], 10+h.number) }

func (h *host) place() place {
	return place{host: h.address(wireNet), prefix: []string{"ip", "netns", "exec", h.name()}}
}

// pull takes the host off a network. What is sent either way is lost, and nobody is told.
func (h *host) pull(net string) { command(h, "ip", "link", "set", h.cable(net), "nomaster") }

// plug puts it back.
func (h *host) plug(net string) { command(h, "ip", "link", "set", h.cable(net), "master", net) }

// dialTimeout is how long one attempt to connect waits for an answer; in one network it takes a millisecond.
const dialTimeout = "1"

// errUnanswered is what became of an attempt to connect: nobody answered.
var errUnanswered = errors.New("no answer")

// dial tries to connect from the host to its peer. It is an error that nobody takes the connection; of a wire
// that is pulled it is errUnanswered.
func (h *host) dial(net string) error {
	address, port, _ := strings.Cut(h.peers[net], ":")
	dial := h.place().command("timeout", dialTimeout, "bash", "-c", "exec 3<>/dev/tcp/"+address+"/"+port)
	output, err := dial.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 124, strings.Contains(string(output), "No route to host"):
		return fmt.Errorf("%s to %s: %w", h.name(), h.peers[net], errUnanswered)
	default:
		return fmt.Errorf("%s to %s: %w: %s", h.name(), h.peers[net], err, output)
	}
}

// eachDials has all of the hosts try at once, and gives the first error of what came of it.
func eachDials(hosts []*host, net string, judge func(*host, error) error) error {
	outcomes := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() { outcomes <- judge(h, h.dial(net)) }()
	}
	var all error
	for range hosts {
		all = errors.Join(all, <-outcomes)
	}
	return all
}

// cutOff is a blow: hosts are off a network. It shows in that none of them can connect to its peer.
func cutOff(what, net string, hosts ...*host) blow {
	each := func(do func(*host, string)) func() {
		return func() {
			for _, h := range hosts {
				do(h, net)
			}
		}
	}
	return blow{what: what, kill: each((*host).pull), restart: each((*host).plug), felt: func() error {
		return eachDials(hosts, net, func(h *host, err error) error {
			if errors.Is(err, errUnanswered) {
				return nil
			}
			return fmt.Errorf("%s to %s: got %v, want %w", h.name(), h.peers[net], err, errUnanswered)
		})
	}, undone: func() error {
		return eachDials(hosts, net, func(_ *host, err error) error { return err })
	}}
}

// A fleet lives on hosts of its own, and is partitioned: processes from Postgres, and from NATS
// and their clients, NATS servers from the rest, all NATS servers from each other, and
// Postgres from everybody.
func (t *torture) partition() {
	f, processes, nodes := t.fleetOnHosts()
	cut := func(what string, standing bool, net string, hosts ...*host) blow {
		b := cutOff(what, net, hosts...)
		b.standing = standing
		if net == wireNet && standing {
			b.hold = t.pause() // clients of the process wait for an answer
		}
		return b
	}
	var blows []blow
	for round := range size(t.T, roundsVariable, shortRounds) {
		victim := round % manyEach
		some := []blow{
			cut(f.claims[victim].name+" is cut off from Postgres", true, dataNet, processes[victim]),
			cut(f.claims[victim].name+" is cut off from NATS and its clients", true, wireNet, processes[victim]),
			cut(f.payments[victim].name+" is cut off from Postgres", true, dataNet, processes[manyEach+victim]),
			cut(f.payments[victim].name+" is cut off from NATS", true, wireNet, processes[manyEach+victim]),
			cut(fmt.Sprint("NATS server n", victim, " is cut off"), true, wireNet, nodes[victim]),
			cut("all NATS servers are cut off from each other", true, wireNet, nodes...),
			cut("Postgres is cut off", false, dataNet, processes...),
		}
		t.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		blows = append(blows, some...)
	}
	t.endure(f, faultClaims*(len(blows)+1), blows)
}

// fleetOnHosts starts a fleet with each process and each NATS server on a host of its own.
func (t *torture) fleetOnHosts() (f *fleet, processes, nodes []*host) {
	t.Helper()
	t.newNetworks()
	access := filepath.Join(t.TempDir(), "pg_hba.conf")
	rules := "local all all trust\nhost all all " + subnets[dataNet] + "0/24 trust\n"
	// The server is another user.
	if err := errors.Join(os.WriteFile(access, []byte(rules), 0o644), os.Chmod(filepath.Dir(filepath.Dir(access)), 0o755)); err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(freePorts(t.T, 1)[0])
	f = &fleet{T: t.T, way: func(url string) string {
		return pgtest.With(t, url, "host", subnets[dataNet]+"1", "port", port, "sslmode", "disable")
	}}
	f.postgres = pgtest.StartOwn(t, "listen_addresses="+subnets[dataNet]+"1", "port="+port, "hba_file="+access)
	var places []place
	for n := range natsNodes {
		nodes = append(nodes, t.newHost(n, wireNet))
		places = append(places, nodes[n].place())
	}
	f.nats = newCluster(t.T, t.TempDir(), places...)
	server := func(n int) string { return fmt.Sprint(places[n%natsNodes].host, ":", f.nats.ports[n%natsNodes]) }
	for n := range nodes {
		nodes[n].peers[wireNet] = server(n + 1)
	}
	processes = make([]*host, 2*manyEach)
	for n := range processes { // populate takes them in turn: claim-process, payments
		h := t.newHost(natsNodes+n, dataNet, wireNet)
		h.peers[dataNet], h.peers[wireNet] = subnets[dataNet]+"1:"+port, server(n)
		f.places = append(f.places, h.place())
		processes[n/2+n%2*manyEach] = h
	}
	f.populate(manyEach)
	return f, processes, nodes
}
