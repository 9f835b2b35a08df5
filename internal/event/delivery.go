package event

import "time"

// Subjects and names on the broker. They are part of the contract: two versions
// of the program that run at once must agree on them.
const (
	StreamName    = "CLAIMRAIL_CLAIMS"
	ClaimsSubject = "claimrail.claims.accepted.v1" // in the stream: ClaimAccepted
	ConsumerName  = "payments"                     // durable, shared by all payments instances
	HintSubject   = "claimrail.payments.hint.v1"   // plain: Answer, sent after a commit
	AskSubject    = "claimrail.payments.ask.v1"    // plain request: Question; reply: Answer
	DeskSubject   = "claimrail.payments.desk.v1"   // plain request: a command to payments; see package payment
	ClaimsQueue   = "claim-process"                // queue group: one claim-process instance takes a hint
	PaymentsQueue = "payments"                     // queue group: one payments instance answers
	MessageID     = "Nats-Msg-Id"                  // header: Ref.MessageID
)

// Delivery is one message as the broker hands it to a consumer.
type Delivery struct {
	MessageID string // header MessageID; empty if the sender set none
	Sequence  uint64 // position in the stream, from 1
	Attempt   int    // deliveries of this message so far, from 1
	Body      []byte
	Reply     Reply
}

// Reply is how a consumer answers a delivery, once.
type Reply interface {
	// Ack: done, never send it again.
	Ack() error
	// Nak: send it again after the delay.
	Nak(delay time.Duration) error
	// Term: never send it again, though it was not processed.
	Term() error
}

// Published is what the broker said to one message of a batch: the position in
// the stream, or why it was not taken.
type Published struct {
	Ref
	Sequence  uint64
	Duplicate bool // it was there already
	Err       error
}
