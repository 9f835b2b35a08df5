package outbox

import "context"

// Step relays one batch, as Run does between two waits.
func (r *Relay) Step(ctx context.Context) (full bool, err error) { return r.relay(ctx) }

// Step asks about one batch, as Run does between two waits.
func (s *Sweep) Step(ctx context.Context) (more bool) { return s.sweep(ctx) }
