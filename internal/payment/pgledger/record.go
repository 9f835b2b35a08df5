package pgledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgfile"
)

// failureMemory is how long a failure count is kept after the last failure. A
// message that goes on failing is parked within minutes.
const failureMemory = 30 * 24 * time.Hour

// What a dead letter's log and decision say when no operator was at work.
const (
	ownActor   = "payments"
	paidReason = "a copy of the message was recorded"
)

const (
	// The claims come sorted, so that of two batches with claims in common one waits for
	// the other, but never both.
	insertPayments = `
INSERT INTO payments (recorded_at, net_fee_cents, version, payment_id, claim_id, content_hash)
SELECT $1, net_fee_cents, version, payment_id, claim_id, content_hash
FROM unnest($2::bigint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::bytea[]) AS u (net_fee_cents, version, payment_id, claim_id, content_hash)
WHERE NOT EXISTS (SELECT FROM tombstones AS t WHERE t.claim_id = u.claim_id AND t.version = u.version)
ON CONFLICT (claim_id, version) DO NOTHING
RETURNING seq, claim_id, version`

	selectHashes = `
SELECT p.claim_id, p.version, p.content_hash
FROM unnest($1::uuid[], $2::bigint[]) AS u (claim_id, version)
JOIN payments AS p ON p.claim_id = u.claim_id AND p.version = u.version`

	// Letters are locked in the order of their ids, by operators too.
	closePaid = `
WITH paid AS MATERIALIZED (
    SELECT d.id FROM unnest($1::uuid[], $2::bigint[]) AS u (claim_id, version)
    JOIN dead_letters AS d ON d.claim_id = u.claim_id AND d.version = u.version AND d.state = 'open'
    ORDER BY d.id FOR UPDATE OF d),
closed AS (
    UPDATE dead_letters SET state = 'paid', closed_by = $3, closed_why = $4, closed_at = $5 FROM paid WHERE dead_letters.id = paid.id
    RETURNING dead_letters.id)
INSERT INTO letter_log (letter_id, at, action, actor, reason) SELECT id, $5, 'paid', $3, $4 FROM closed ORDER BY id`
)

// Record implements payment.Ledger.
func (l *Ledger) Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) ([]payment.Verdict, error) {
	switch {
	case len(batch) > payment.MaxBatch:
		return nil, fmt.Errorf("record %d payments: %d at most", len(batch), payment.MaxBatch)
	case len(batch) == 0:
		return nil, nil
	}
	var verdicts []payment.Verdict
	err := l.write(ctx, "record payments", func(ctx context.Context, tx *pgfile.Tx) error {
		b := newBook(batch)
		if err := b.insert(ctx, tx, now); err != nil {
			return fmt.Errorf("insert payments: %w", err)
		}
		if err := b.insertPostings(ctx, tx); err != nil {
			return fmt.Errorf("insert postings: %w", err)
		}
		if err := b.compare(ctx, tx); err != nil {
			return fmt.Errorf("select payments: %w", err)
		}
		verdicts = b.verdicts()
		if ids, versions := columns(b.recorded()); len(ids) > 0 {
			tx.Queue(closePaid, ids, versions, ownActor, paidReason, now)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

// book is one batch while it is recorded.
type book struct {
	batch  []event.ClaimAccepted
	hashes [][sha256.Size]byte
	first  map[event.Key]int // place of the first message of a claim
	seqs   map[event.Key]int64
	found  map[event.Key][]byte // hash of the payment that was there already
}

func newBook(batch []event.ClaimAccepted) *book {
	b := &book{
		batch:  batch,
		hashes: make([][sha256.Size]byte, len(batch)),
		first:  make(map[event.Key]int, len(batch)),
		seqs:   make(map[event.Key]int64, len(batch)),
		found:  make(map[event.Key][]byte),
	}
	for i := range batch {
		b.hashes[i] = batch[i].Hash()
		if _, seen := b.first[batch[i].Key]; !seen {
			b.first[batch[i].Key] = i
		}
	}
	return b
}

// insert inserts the first message of each claim that has no payment yet.
func (b *book) insert(ctx context.Context, tx *pgfile.Tx, now time.Time) error {
	keys := make([]event.Key, 0, len(b.first))
	for key := range b.first {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b event.Key) int {
		if by := bytes.Compare(a.ClaimID[:], b.ClaimID[:]); by != 0 {
			return by
		}
		return a.Version - b.Version
	})
	claimIDs, versions := columns(keys)
	netFees, paymentIDs, hashes := make([]int64, len(keys)), make([][16]byte, len(keys)), make([][]byte, len(keys))
	for i, key := range keys {
		at := b.first[key]
		netFees[i], paymentIDs[i], hashes[i] = int64(b.batch[at].NetFee), payment.ID(key), b.hashes[at][:]
	}
	tx.Queue(insertPayments, now, netFees, versions, paymentIDs, claimIDs, hashes).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var seq int64
			var key event.Key
			if err := rows.Scan(&seq, (*[16]byte)(&key.ClaimID), &key.Version); err != nil {
				return err
			}
			b.seqs[key] = seq
		}
		return rows.Err()
	})
	return tx.Flush(ctx)
}

// columns gives keys as two columns.
func columns(keys []event.Key) (claimIDs [][16]byte, versions []int64) {
	claimIDs, versions = make([][16]byte, len(keys)), make([]int64, len(keys))
	for i, key := range keys {
		claimIDs[i], versions[i] = key.ClaimID, int64(key.Version)
	}
	return claimIDs, versions
}

// insertPostings inserts the postings of the new payments.
func (b *book) insertPostings(ctx context.Context, tx *pgfile.Tx) error {
	var seqs, netFees pgfile.Int8s
	var npis pgfile.Texts
	for _, key := range b.recorded() {
		for _, posting := range b.batch[b.first[key]].Postings {
			seqs = append(seqs, b.seqs[key])
			netFees = append(netFees, int64(posting.NetFee))
			npis = append(npis, posting.ProviderNPI)
		}
	}
	return tx.Insert(ctx, pgfile.Rows{Table: "postings", Columns: []pgfile.Column{
		{Name: "payment_seq", Values: &seqs}, {Name: "net_fee_cents", Values: &netFees}, {Name: "npi", Values: &npis},
	}})
}

// recorded gives the claims with a new payment, in the order of the batch.
func (b *book) recorded() []event.Key {
	keys := make([]event.Key, 0, len(b.seqs))
	for i := range b.batch {
		if key := b.batch[i].Key; b.first[key] == i && b.seqs[key] != 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// compare reads the payments that kept others from being inserted.
func (b *book) compare(ctx context.Context, tx *pgfile.Tx) error {
	var missing []event.Key
	for key := range b.first {
		if b.seqs[key] == 0 {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	claimIDs, versions := columns(missing)
	tx.Queue(pgfile.AwaitStandbys)
	tx.Queue(selectHashes, claimIDs, versions).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var key event.Key
			var hash []byte
			if err := rows.Scan((*[16]byte)(&key.ClaimID), &key.Version, &hash); err != nil {
				return err
			}
			b.found[key] = hash
		}
		return rows.Err()
	})
	return tx.Flush(ctx)
}

// verdicts gives a verdict on each message.
func (b *book) verdicts() []payment.Verdict {
	verdicts := make([]payment.Verdict, len(b.batch))
	for i := range b.batch {
		key := b.batch[i].Key
		onRecord := b.found[key]
		if b.seqs[key] != 0 {
			onRecord = b.hashes[b.first[key]][:]
		}
		switch {
		case b.seqs[key] != 0 && b.first[key] == i:
			verdicts[i] = payment.Recorded
		case onRecord == nil:
			verdicts[i] = payment.WrittenOff
		case bytes.Equal(onRecord, b.hashes[i][:]):
			verdicts[i] = payment.Repeat
		default:
			verdicts[i] = payment.Conflict
		}
	}
	return verdicts
}

// Fail implements payment.Ledger. It also forgets counts that are older than
// failureMemory; those that somebody else is counting it leaves alone.
func (l *Ledger) Fail(ctx context.Context, messageID string, now time.Time) (attempts int, err error) {
	const forget = `
DELETE FROM failures WHERE message_id IN
    (SELECT message_id FROM failures WHERE last_at < $1 ORDER BY last_at LIMIT 1000 FOR UPDATE SKIP LOCKED)`
	const count = `
INSERT INTO failures AS f (message_id, attempts, last_at) VALUES ($1, 1, $2)
ON CONFLICT (message_id) DO UPDATE SET attempts = f.attempts + 1, last_at = excluded.last_at
RETURNING attempts`
	err = l.write(ctx, "count failure of message "+messageID, func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue(forget, now.Add(-failureMemory))
		tx.Queue(count, messageID, now).QueryRow(func(row pgx.Row) error { return row.Scan(&attempts) })
		return nil
	})
	return attempts, err
}
