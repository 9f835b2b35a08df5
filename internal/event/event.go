// Package event is the contract between claim-process and payments: everything
// that the two services say to each other, and nothing else that they share. A
// ClaimAccepted tells payments of a claim; a Standing tells claim-process what
// payments has on record. No message holds PHI: a claim is its id, a version, and
// cents by provider.
package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
)

// Schema is the version of ClaimAccepted that this program writes, and the only
// one that it reads.
const Schema = 1

// MaxBodyBytes bounds a message body. The largest claim, 999 lines of as many
// providers, takes about 60 KB.
const MaxBodyBytes = 256 << 10

// MaxPostings is how many providers one claim can have: one for each line.
const MaxPostings = 999

// ErrMalformed marks a body that is no ClaimAccepted of this schema and will
// never be one: trying again is of no use.
var ErrMalformed = errors.New("malformed message")

// Key names what is paid once: one version of one claim.
type Key struct {
	ClaimID uuid.UUID `json:"claim_id"`
	Version int       `json:"version"`
}

// String gives "claim_id.version".
func (k Key) String() string { return k.ClaimID.String() + "." + strconv.Itoa(k.Version) }

// Ref is a Key and the generation of its message. Retries keep the generation;
// asking payments in vain, or an operator's redrive, raises it.
type Ref struct {
	Key
	Gen int `json:"gen"`
}

// MessageID is the broker's id of the message: "claim_id.version.gen".
func (r Ref) MessageID() string { return r.Key.String() + "." + strconv.Itoa(r.Gen) }

// Posting is one provider's part of a claim's net fee.
type Posting struct {
	ProviderNPI string // ten digits
	NetFee      money.Cents
}

// ClaimAccepted says that a claim is committed and is to be paid.
type ClaimAccepted struct {
	Ref
	NetFee      money.Cents // sum over the postings
	Postings    []Posting   // ascending by NPI, each provider once
	AcceptedAt  time.Time   // UTC, to the microsecond
	Traceparent string      // W3C trace context of the request; may be empty
}

// Hash is SHA-256 over what is to be paid: claim, version, postings. It is the
// same in every generation, so that payments can tell a repeat from another claim.
func (e *ClaimAccepted) Hash() [sha256.Size]byte {
	buffer := make([]byte, 0, 64+24*len(e.Postings))
	buffer = append(buffer, e.ClaimID[:]...)
	buffer = binary.AppendVarint(buffer, int64(e.Version))
	buffer = binary.AppendVarint(buffer, int64(e.NetFee))
	for _, posting := range e.Postings {
		buffer = binary.AppendUvarint(buffer, uint64(len(posting.ProviderNPI)))
		buffer = append(buffer, posting.ProviderNPI...)
		buffer = binary.AppendVarint(buffer, int64(posting.NetFee))
	}
	return sha256.Sum256(buffer)
}

// body is ClaimAccepted as it stands on the wire.
type body struct {
	Schema      int           `json:"schema"`
	ClaimID     uuid.UUID     `json:"claim_id"`
	Version     int           `json:"version"`
	Gen         int           `json:"gen"`
	NetFeeCents int64         `json:"net_fee_cents"`
	Postings    []bodyPosting `json:"postings"`
	Hash        string        `json:"hash"` // hex of Hash
	AcceptedAt  time.Time     `json:"accepted_at"`
	Traceparent string        `json:"traceparent,omitempty"`
}

type bodyPosting struct {
	NPI   string `json:"npi"`
	Cents int64  `json:"cents"`
}

// Marshal gives the message body: JSON of one line.
func (e *ClaimAccepted) Marshal() ([]byte, error) {
	hash := e.Hash()
	wire := body{
		Schema:      Schema,
		ClaimID:     e.ClaimID,
		Version:     e.Version,
		Gen:         e.Gen,
		NetFeeCents: int64(e.NetFee),
		Postings:    make([]bodyPosting, len(e.Postings)),
		Hash:        hex.EncodeToString(hash[:]),
		AcceptedAt:  e.AcceptedAt.UTC().Truncate(time.Microsecond),
		Traceparent: e.Traceparent,
	}
	for i, posting := range e.Postings {
		wire.Postings[i] = bodyPosting{posting.ProviderNPI, int64(posting.NetFee)}
	}
	text, err := json.Marshal(&wire)
	if err != nil {
		return nil, fmt.Errorf("marshal message %s: %w", e.MessageID(), err)
	}
	if len(text) > MaxBodyBytes {
		return nil, fmt.Errorf("marshal message %s: %d bytes are more than %d: %w",
			e.MessageID(), len(text), MaxBodyBytes, ErrMalformed)
	}
	return text, nil
}

// Unmarshal reads a body and checks all that can be checked of it alone: schema,
// hash, order of the postings, their sum. Every error is ErrMalformed. Where the
// claim can be told in spite of it, the result carries at least its Ref.
func Unmarshal(text []byte) (ClaimAccepted, error) {
	if len(text) > MaxBodyBytes {
		return ClaimAccepted{}, fmt.Errorf("%d bytes are more than %d: %w", len(text), MaxBodyBytes, ErrMalformed)
	}
	var wire body
	decoder := json.NewDecoder(bytes.NewReader(text))
	err := decoder.Decode(&wire)
	e := ClaimAccepted{
		Ref:         Ref{Key{wire.ClaimID, wire.Version}, wire.Gen},
		NetFee:      money.Cents(wire.NetFeeCents),
		Postings:    make([]Posting, len(wire.Postings)),
		AcceptedAt:  wire.AcceptedAt,
		Traceparent: wire.Traceparent,
	}
	for i, posting := range wire.Postings {
		e.Postings[i] = Posting{posting.NPI, money.Cents(posting.Cents)}
	}
	switch {
	case err != nil:
		return e, fmt.Errorf("not JSON of the expected shape: %w", ErrMalformed)
	case decoder.More():
		return e, fmt.Errorf("text behind the JSON: %w", ErrMalformed)
	case wire.Schema != Schema:
		return e, fmt.Errorf("schema %d, this program reads %d: %w", wire.Schema, Schema, ErrMalformed)
	}
	if err := e.check(); err != nil {
		return e, err
	}
	if hash := e.Hash(); hex.EncodeToString(hash[:]) != wire.Hash {
		return e, fmt.Errorf("hash does not match the content: %w", ErrMalformed)
	}
	return e, nil
}

// check holds the message against its own rules.
func (e *ClaimAccepted) check() error {
	switch {
	case e.ClaimID == uuid.Nil:
		return fmt.Errorf("no claim_id: %w", ErrMalformed)
	case e.Version < 1 || e.Gen < 0:
		return fmt.Errorf("version %d, gen %d: %w", e.Version, e.Gen, ErrMalformed)
	case len(e.Postings) == 0 || len(e.Postings) > MaxPostings:
		return fmt.Errorf("%d postings, want 1 to %d: %w", len(e.Postings), MaxPostings, ErrMalformed)
	}
	amounts := make([]money.Cents, len(e.Postings))
	for i, posting := range e.Postings {
		if i > 0 && posting.ProviderNPI <= e.Postings[i-1].ProviderNPI {
			return fmt.Errorf("posting %d: providers are not in ascending order: %w", i, ErrMalformed)
		}
		amounts[i] = posting.NetFee
	}
	if sum, err := money.Sum(amounts...); err != nil || sum != e.NetFee {
		return fmt.Errorf("the postings do not add up to the net fee: %w", ErrMalformed)
	}
	return nil
}
