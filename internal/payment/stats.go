package payment

import "sync/atomic"

// Stats counts, since the start of the process, what became of messages. All
// fields may be read at any time.
type Stats struct {
	Recorded      atomic.Int64 // new payments
	Repeats       atomic.Int64 // messages whose payment was there already
	Conflicts     atomic.Int64 // messages for which another payment was there
	WrittenOff    atomic.Int64 // messages of discarded claims
	Parked        atomic.Int64 // dead letters, for whatever reason
	Failed        atomic.Int64 // failures that count against a message
	Naks          atomic.Int64 // messages given back to the broker
	AnswersFailed atomic.Int64 // acks, naks and terms that the broker did not take
	HintsFailed   atomic.Int64 // hints that were not sent; a sweep makes up for them
}
