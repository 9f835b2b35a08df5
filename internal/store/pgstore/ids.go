package pgstore

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/store"
)

// Limits of the ids that are taken ahead.
const (
	// maxIDAge is how long after they were taken ids are still given to claims: by so much at
	// most the order of ids of several instances differs from that of time.
	maxIDAge = time.Second
	// maxIDBlock is how many claims ids are taken for at once, unless a batch is larger.
	maxIDBlock = 8 * store.MaxBatchClaims
)

// Ids are taken under a lock of the sequences, so that those of a block stand one behind the
// other. The lock ends with this transaction, whose commit is as durable as that of a batch: a
// server that crashed and forgot a block would give its ids again, while who took it still has it.
const (
	lockIDs = `SELECT pg_advisory_xact_lock('line_ids'::regclass::oid::bigint)`
	takeIDs = `SELECT setval('claim_seq', nextval('claim_seq') + $1::bigint - 1) - $1::bigint + 1,
		setval('line_ids', nextval('line_ids') + $2::bigint - 1) - $2::bigint + 1`
)

// idBlock is a store's own supply of ids, so that a batch need not ask for some: a block is
// taken for more than one batch, for as many claims as come in about a second. What is left of it when it is
// too small or too old is given to no claim, which leaves gaps.
type idBlock struct {
	mutex         sync.Mutex
	seqs, lines   idRange
	claims, since int64 // claims that it was taken for, and when, in microseconds since 1970
}

// idRange is ids that follow each other: next is the first, end is behind the last.
type idRange struct{ next, end int64 }

func (r *idRange) take(count int) int64 {
	first := r.next
	r.next += int64(count)
	return first
}

// ids gives the ids of so many claims and lines: the first of each, the others follow it.
func (s *Store) ids(ctx context.Context, claims, lines int, now time.Time) (seq, line int64, err error) {
	b := &s.block
	b.mutex.Lock()
	defer b.mutex.Unlock()
	age := now.UnixMicro() - b.since
	fresh := age >= 0 && age < maxIDAge.Microseconds()
	left := b.seqs.end - b.seqs.next
	if !fresh || left < int64(claims) || b.lines.end-b.lines.next < int64(lines) {
		wanted := b.claims - left // as many as in the time before
		if fresh {                // it was used up before its time
			wanted = 2 * b.claims
		}
		batches := max(min(wanted, maxIDBlock)/int64(claims), 1)
		if err := s.refill(ctx, batches*int64(claims), batches*int64(lines)); err != nil {
			return 0, 0, err
		}
		b.claims, b.since = batches*int64(claims), now.UnixMicro()
	}
	return b.seqs.take(claims), b.lines.take(lines), nil
}

// refill takes a new block.
func (s *Store) refill(ctx context.Context, claims, lines int64) error {
	var seq, line int64
	err := s.schema.Read(ctx, "accept claims: take ids", func(ctx context.Context, pool *pgxpool.Pool) error {
		take := &pgx.Batch{}
		take.Queue(lockIDs)
		take.Queue(takeIDs, claims, lines).QueryRow(func(row pgx.Row) error { return row.Scan(&seq, &line) })
		return pool.SendBatch(ctx, take).Close()
	})
	if err != nil {
		return err
	}
	s.block.seqs, s.block.lines = idRange{seq, seq + claims}, idRange{line, line + lines}
	return nil
}
