// Package broker is the way between claim-process and payments, and the only home
// of NATS. Claims travel one way through a JetStream stream, at least once;
// questions, answers and hints travel as plain messages, at most once. Nothing on
// the line relies on the broker to keep what it acknowledged: the outbox asks
// payments until a claim is on record there.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Defaults of Config.
const (
	DefaultStreamBytes = 1 << 30
	DefaultAckWait     = 30 * time.Second
)

// Waits.
const (
	connectTimeout = 2 * time.Second  // for one server to answer
	startTimeout   = 30 * time.Second // for the embedded server; it may have a stream to recover
	requestTimeout = 5 * time.Second  // for one answer of the broker or of payments, at most
	flushTimeout   = 2 * time.Second  // for what is still to be sent at Close
	stopTimeout    = 10 * time.Second // for the embedded server to write its files and end
)

// Config is how a broker is set up.
type Config struct {
	// Dir is where the embedded server keeps its files; it is made where it is missing.
	// Only one process may use it at a time, and the caller sees to that.
	Dir string
	// StreamBytes bounds the stream on disk; 0: DefaultStreamBytes. A full stream
	// takes no more messages, and the claims wait in the outbox.
	StreamBytes int64
	// AckWait is how long a consumer may take to answer a message before it is sent
	// again; 0: DefaultAckWait.
	AckWait time.Duration
}

func (c Config) withDefaults() Config {
	if c.StreamBytes == 0 {
		c.StreamBytes = DefaultStreamBytes
	}
	if c.AckWait == 0 {
		c.AckWait = DefaultAckWait
	}
	return c
}

// Broker is a connection to NATS with the stream and the consumer in place. It is
// outbox.Line for claim-process, and feed and hinter for payments. All methods may be
// called at once.
type Broker struct {
	config   Config
	replicas int // that the stream should have
	logger   *slog.Logger
	host     *host // nil if the server is somebody else's
	link     *link
	conn     *nats.Conn
	js       jetstream.JetStream

	mending chan struct{} // has room for the one who makes stream and consumer
	humble  bool          // of that one: the stream has fewer replicas than wanted, and that is logged
	// pull is the consumer by its names: it stays good when both are made anew. nil
	// until they are made or found for the first time.
	pull  atomic.Pointer[jetstream.Consumer]
	ahead Ahead
}

// OpenEmbedded starts a NATS server within this process, with its files below
// config.Dir and no open port, and connects to it. Close it.
func OpenEmbedded(ctx context.Context, config Config, logger *slog.Logger) (*Broker, error) {
	config = config.withDefaults()
	embedded, err := newHost(config, logger)
	if err != nil {
		return nil, fmt.Errorf("start embedded broker in %s: %w", config.Dir, err)
	}
	b, err := connect(config, 1, logger, nats.InProcessServer(embedded))
	if err != nil {
		return nil, errors.Join(err, embedded.close())
	}
	b.host = embedded
	if err := b.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the broker: %w", err), b.Close())
	}
	return b, nil
}

// connect connects; stream and consumer are not in place yet.
func connect(config Config, replicas int, logger *slog.Logger, options ...nats.Option) (*Broker, error) {
	b := &Broker{
		config: config, replicas: replicas, logger: logger, link: newLink(logger), mending: make(chan struct{}, 1),
	}
	options = append(options, b.link.options()...)
	options = append(options,
		nats.Name("claimrail"),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1), // what can not be sent now is for the outbox to keep
		nats.Timeout(connectTimeout),
		nats.FlusherTimeout(requestTimeout),
	)
	var err error
	if b.conn, err = nats.Connect("", options...); err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	b.link.conn.Store(b.conn)
	if b.conn.IsConnected() {
		b.link.stands()
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncTimeout(requestTimeout)); err != nil {
		b.conn.Close()
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	return b, nil
}

// Ping fails where messages can not be sent: no connection, no stream, or an embedded server
// that can not keep them.
func (b *Broker) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := b.mended(ctx, func() error {
		_, err := b.streamInfo(ctx)
		return err
	})
	if err == nil && b.host != nil {
		err = b.host.check()
	}
	if err != nil {
		return fmt.Errorf("ping the broker: %w", err)
	}
	return nil
}

// Close sends what is still to be sent, then ends the connection and the embedded
// server, and waits for it. Whoever fetches or serves has to be done before.
func (b *Broker) Close() error {
	var err error
	if b.link.up() == nil { // else nothing is held back for a connection
		if err = b.conn.FlushTimeout(flushTimeout); err != nil {
			err = fmt.Errorf("flush the connection to the broker: %w", err)
		}
	}
	b.conn.Close()
	if b.host != nil {
		err = errors.Join(err, b.host.close())
	}
	return err
}
