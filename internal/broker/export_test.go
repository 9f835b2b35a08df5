package broker

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream lets tests break what the broker has made.
func (b *Broker) JetStream() jetstream.JetStream { return b.js }

// Server is the embedded server; nil if there is none.
func (b *Broker) Server() *server.Server { return b.server }

// Subscriptions counts those of the connection, and has the broker know them all.
func (b *Broker) Subscriptions() (int, error) { return b.conn.NumSubscriptions(), b.conn.Flush() }
