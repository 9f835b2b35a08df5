package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/claimrail/claimrail/internal/event"
)

// Limits of the embedded server.
const (
	maxPayload  = 1 << 20  // bytes of one message of any kind; an answer on event.MaxAsked claims takes half of it
	memoryBytes = 16 << 20 // JetStream in memory; nothing of ours is kept there
	// storeBytes is out of reach: the stream has its own bound. A limit close to that would
	// refuse a stream of an earlier run, with a larger bound, before it can be lowered.
	storeBytes = 1 << 50
)

// probeBytes is what must fit on the disk before a server that could not write is started
// anew.
const probeBytes = 1 << 20

// errDown: the embedded server was to be exchanged, and the next one did not start yet.
var errDown = errors.New("the embedded server does not run")

// host keeps the embedded server, and exchanges it where it can not be helped otherwise.
// The connection finds the one that runs through it.
type host struct {
	config Config
	logger *slog.Logger

	mu     sync.Mutex
	server *server.Server // nil: none runs
	ailing bool           // it was ill at the last look
}

var _ nats.InProcessConnProvider = (*host)(nil)

// newHost starts the first server.
func newHost(config Config, logger *slog.Logger) (*host, error) {
	first, err := startServer(config, logger)
	if err != nil {
		return nil, err
	}
	return &host{config: config, logger: logger, server: first}, nil
}

// InProcessConn implements nats.InProcessConnProvider.
func (h *host) InProcessConn() (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return nil, errDown
	}
	return h.server.InProcessConn()
}

// check fails where the server does not run, or can not keep messages though it answers.
func (h *host) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.checkLocked()
}

func (h *host) checkLocked() error {
	if h.server == nil {
		return errDown
	}
	for _, fault := range h.server.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// That it takes connections is given a millisecond to show, which a busy machine
		// does not always have; a server that is started goes on taking them. And the folder
		// of a deleted stream stays for a moment, under another name.
		if fault.Type != server.HealthzErrorConn && (fault.Stream == "" || fault.Stream == event.StreamName) {
			return errors.New(fault.Error)
		}
	}
	return nil
}

// mend exchanges a server that was ill at two looks in a row. A server that could not write
// to a file once, for the disk was full, never writes to it again, and says so to nobody
// who sends; the next one reads the files as after a crash. While the disk takes nothing,
// it is left as it is.
//
// Only one goroutine may call it.
func (h *host) mend() error {
	h.mu.Lock()
	ill, before, old := h.checkLocked(), h.ailing, h.server
	h.ailing = ill != nil
	h.mu.Unlock()
	if ill == nil || !before {
		return nil
	}
	if err := probe(h.config.Dir); err != nil {
		return fmt.Errorf("embedded broker is ill (%w), and can not be started anew: %w", ill, err)
	}
	h.logger.Warn("the embedded broker can not go on, starting it anew", "error", ill)
	if old != nil {
		if err := stopServer(old); err != nil {
			return err // two servers must not write to the same files
		}
		h.replace(nil)
	}
	next, err := startServer(h.config, h.logger)
	if err != nil {
		return fmt.Errorf("start embedded broker in %s: %w", h.config.Dir, err)
	}
	h.replace(next)
	return nil
}

func (h *host) replace(next *server.Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server, h.ailing = next, next == nil
}

// close stops the server, if one runs.
func (h *host) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return nil
	}
	return stopServer(h.server)
}

// probe fails where a file of probeBytes can not be written to the folder.
func probe(folder string) error {
	file, err := os.CreateTemp(folder, "probe-")
	if err != nil {
		return fmt.Errorf("write a probe: %w", err)
	}
	_, err = file.Write(make([]byte, probeBytes))
	if err = errors.Join(err, file.Close(), os.Remove(file.Name())); err != nil {
		return fmt.Errorf("write a probe: %w", err)
	}
	return nil
}

// startServer gives a running server that nobody outside this process can reach.
// It is left to sync its files when it likes (every two minutes): the line is built
// to lose them.
func startServer(config Config, logger *slog.Logger) (*server.Server, error) {
	embedded, err := server.NewServer(&server.Options{
		ServerName:             "claimrail",
		DontListen:             true,
		NoSigs:                 true,
		MaxPayload:             maxPayload,
		JetStream:              true,
		StoreDir:               config.Dir,
		JetStreamMaxMemory:     memoryBytes,
		JetStreamMaxStore:      storeBytes,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	lines := &serverLog{logger: logger.With("from", "nats-server")}
	embedded.SetLoggerV2(lines, false, false, false)
	embedded.Start()
	// A server that gave up says so, and would be waited for in vain.
	if fatal := lines.fatal.Load(); fatal != nil {
		return nil, errors.Join(errors.New(*fatal), stopServer(embedded))
	}
	if !embedded.ReadyForConnections(startTimeout) || !embedded.JetStreamEnabled() {
		return nil, errors.Join(errors.New("the server did not get ready"), stopServer(embedded))
	}
	return embedded, nil
}

// stopServer shuts the server down and waits until its files are written.
func stopServer(embedded *server.Server) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		embedded.Shutdown()
		embedded.WaitForShutdown()
	}()
	select {
	case <-stopped:
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("stop embedded broker: still busy after %s", stopTimeout)
	}
}

// serverLog is the server's logger. Nothing of the server is news to an operator
// but warnings; its errors show on our side as errors of what was tried.
type serverLog struct {
	logger *slog.Logger
	fatal  atomic.Pointer[string] // the last fatal line: why the server did not start
}

func (l *serverLog) log(level slog.Level, format string, values []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, fmt.Sprintf(format, values...))
	}
}

func (l *serverLog) Noticef(format string, values ...any) { l.log(slog.LevelDebug, format, values) }
func (l *serverLog) Debugf(format string, values ...any)  { l.log(slog.LevelDebug, format, values) }
func (l *serverLog) Tracef(format string, values ...any)  { l.log(slog.LevelDebug, format, values) }
func (l *serverLog) Warnf(format string, values ...any)   { l.log(slog.LevelWarn, format, values) }
func (l *serverLog) Errorf(format string, values ...any)  { l.log(slog.LevelWarn, format, values) }

func (l *serverLog) Fatalf(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	l.fatal.Store(&text)
	l.log(slog.LevelWarn, format, values)
}
