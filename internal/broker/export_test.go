package broker

import (
	"context"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream lets tests break what the broker has made.
func (b *Broker) JetStream() jetstream.JetStream { return b.js }

// Server is the embedded server; nil if there is none.
func (b *Broker) Server() *server.Server {
	if b.host == nil {
		return nil
	}
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	return b.host.server
}

// Mend looks once whether the embedded server can go on.
func (b *Broker) Mend() error { return b.host.mend() }

// Subscriptions counts those of the connection, and has the broker know them all.
func (b *Broker) Subscriptions() (int, error) { return b.conn.NumSubscriptions(), b.conn.Flush() }

// Want sets up the stream as a program does that wants so many replicas.
func (b *Broker) Want(ctx context.Context, replicas int) error {
	b.replicas = replicas
	_, err := b.ensure(ctx)
	return err
}

// Raise asks once for the replicas that the stream lacks.
func (b *Broker) Raise(ctx context.Context) error { return b.raise(ctx) }
