package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Limits of the embedded server.
const (
	maxPayload  = 1 << 20  // bytes of one message of any kind; an answer on event.MaxAsked claims takes half of it
	memoryBytes = 16 << 20 // JetStream in memory; nothing of ours is kept there
	// storeBytes is out of reach: the stream has its own bound. A limit close to that would
	// refuse a stream of an earlier run, with a larger bound, before it can be lowered.
	storeBytes = 1 << 50
)

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
