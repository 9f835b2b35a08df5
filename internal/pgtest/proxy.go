package pgtest

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Proxy stands between a client and a server, and loses connections when it is told to.
type Proxy struct {
	URL string // of the database, by way of the proxy

	network, address string
	listener         net.Listener
	cutCommit        atomic.Int64 // how much of an answer to COMMIT passes, plus one; 0: all
	tasks            sync.WaitGroup
	mutex            sync.Mutex
	open             map[net.Conn]bool // nil once it is severed
}

// NewProxy makes a proxy to the database of the URL. It ends with the test.
func NewProxy(t testing.TB, address string) *Proxy {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatalf("read URL of test database: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := &Proxy{listener: listener, open: map[net.Conn]bool{}}
	p.network, p.address = pgconn.NetworkAddress(config.Host, config.Port)
	p.URL = With(t, address, "host", "127.0.0.1", "port", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), "sslmode", "disable")
	p.tasks.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Sever()
		p.tasks.Wait()
	})
	return p
}

// CommitAnswer is how long the answer to a COMMIT is, in bytes: that it is done, and that the
// server is ready for more.
const CommitAnswer = 12 + 6

// LoseCommit has the next answer to a COMMIT lost, and with it the connection.
func (p *Proxy) LoseCommit() { p.CutCommit(0) }

// CutCommit lets only so many bytes of the next answer to a COMMIT pass, and then closes the
// connection.
func (p *Proxy) CutCommit(after int) { p.cutCommit.Store(int64(after) + 1) }

// Armed says whether an answer that is to be cut has not come yet.
func (p *Proxy) Armed() bool { return p.cutCommit.Load() != 0 }

// Cut closes all connections. New ones may be made.
func (p *Proxy) Cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
}

// Sever closes all connections, and lets no new one be made: the way to the server is gone. Where
// only connections are cut, pgx asks the server at once, over a new one, to cancel what it did.
func (p *Proxy) Sever() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
	p.open = nil
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.address)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			continue
		}
		p.tasks.Go(func() { p.carry(server, client, false) })
		p.tasks.Go(func() { p.carry(client, server, true) })
	}
}

// keep notes connections, unless the proxy is severed.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, conn := range conns {
		if p.open == nil {
			_ = conn.Close()
			continue
		}
		p.open[conn] = true
	}
	return p.open != nil
}

// commitDone is the first part of the answer to a COMMIT.
const commitDone = "C\x00\x00\x00\x0bCOMMIT\x00"

// carry copies until an end closes, then closes both. Of what a server says, an answer to
// COMMIT can be kept back.
func (p *Proxy) carry(to io.WriteCloser, from io.ReadCloser, answers bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if answers && bytes.Contains(buffer[:n], []byte(commitDone)) {
			if armed := p.cutCommit.Swap(0); armed > 0 {
				passed := bytes.Index(buffer[:n], []byte(commitDone)) + int(armed) - 1
				_, _ = to.Write(buffer[:min(passed, n)])           // the client may be gone
				_, _ = io.CopyN(to, from, int64(max(0, passed-n))) // what of it had not come yet
				return
			}
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}
