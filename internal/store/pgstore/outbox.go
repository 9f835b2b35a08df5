package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

const rowColumns = `claim_id, version, gen, state, attempts, sequence, published_at, net_fee_cents, postings, received_at, traceparent, due_at, claim_seq`

// Each queue has an index that gives it in its order.
const (
	isDue        = "due_at <= $1 AND (due_at, claim_seq) > ($2, $3) ORDER BY due_at, claim_seq LIMIT $4"
	dueToPublish = "SELECT " + rowColumns + " FROM outbox WHERE state = 'pending' AND " + isDue
	dueToAsk     = "SELECT " + rowColumns + " FROM outbox WHERE state IN ('published', 'dead') AND " + isDue
)

// fewRows is how many rows come without room being made for a whole batch.
const fewRows = 16

// Due gives the rows that one of the workers waits for; see outbox.Rows.
func (s *Store) Due(ctx context.Context, queue outbox.Queue, now time.Time, after outbox.Place, limit int) ([]outbox.Row, error) {
	query := dueToPublish
	if queue == outbox.ToAsk {
		query = dueToAsk
	}
	var due []outbox.Row
	err := s.read(ctx, "read due outbox rows", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, query, now, after.DueAt, after.Seq, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scanRow(rows)
			if err != nil {
				return err
			}
			if len(due) == fewRows { // where there are so many, there are more
				due = slices.Grow(due, limit)
			}
			due = append(due, row)
		}
		return rows.Err()
	})
	return due, err
}

func scanRow(rows pgx.Rows) (outbox.Row, error) {
	var row outbox.Row
	var sequence int64
	var publishedAt *time.Time
	var state, postings string
	if err := rows.Scan((*[16]byte)(&row.ClaimID), &row.Version, &row.Gen, &state, &row.Attempts, &sequence, &publishedAt,
		&row.NetFee, &postings, &row.AcceptedAt, &row.Traceparent, &row.Place.DueAt, &row.Place.Seq); err != nil {
		return outbox.Row{}, err
	}
	row.State = outbox.State(state)
	row.Sequence = uint64(sequence)
	row.AcceptedAt = row.AcceptedAt.UTC()
	if publishedAt != nil {
		row.PublishedAt = publishedAt.UTC()
	}
	var err error
	row.Postings, err = store.DecodePostings(postings)
	return row, err
}

// planByIDs has the statements below that change rows planned in one way, whatever the statistics say:
// the rows are read by their ids, in the order of the ids, and joined to what is to become of them by
// hash. They name the ids twice for that. A plan of an empty outbox would otherwise read all of it for
// each id, and without the hash a batch would be compared with itself, row by row.
const planByIDs = `SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true),
	set_config('enable_bitmapscan', 'off', true)`

const (
	// All writers lock the rows that they are about to change in one order.
	lockRows = `SELECT claim_id, version, gen, state, attempts, due_at, sequence, coalesce(published_at, 'epoch'), reason, net_fee_cents
		FROM outbox WHERE claim_id = ANY($1) ORDER BY claim_id FOR UPDATE`
	updateRows = `UPDATE outbox AS o SET gen = u.gen, state = u.state, attempts = u.attempts, due_at = u.due_at,
		sequence = u.sequence, published_at = nullif(u.published_at, 'epoch'), reason = u.reason
		FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::timestamptz[], $8::text[])
		AS u (claim_id, gen, state, attempts, due_at, sequence, published_at, reason)
		WHERE o.claim_id = u.claim_id AND o.claim_id = ANY($1)`
	settleRows = `WITH gone AS (
		DELETE FROM outbox AS o USING unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[]) AS u (claim_id, gen, payment_id, recorded_at)
		WHERE o.claim_id = u.claim_id AND o.claim_id = ANY($1)
		RETURNING o.claim_seq, o.version, o.received_at, u.gen, u.payment_id, u.recorded_at)
		INSERT INTO settlements (claim_seq, version, received_at, gen, payment_id, recorded_at, settled_at)
		SELECT claim_seq, version, received_at, gen, payment_id, recorded_at, $5 FROM gone`
)

// settlePaid settles the rows that stand as payments has them, in the order that it is given.
const settlePaid = `WITH gone AS (
		DELETE FROM outbox AS o USING unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::timestamptz[])
		AS u (claim_id, version, net_fee_cents, payment_id, recorded_at)
		WHERE o.claim_id = u.claim_id AND o.claim_id = ANY($1) AND o.version = u.version AND o.net_fee_cents = u.net_fee_cents
		RETURNING o.claim_seq, o.version, o.received_at, o.gen, u.payment_id, u.recorded_at)
		INSERT INTO settlements (claim_seq, version, received_at, gen, payment_id, recorded_at, settled_at)
		SELECT claim_seq, version, received_at, gen, payment_id, recorded_at, $6 FROM gone`

// settleAll settles what it can of changes that are all Settle, which is what nearly every hint
// is made of, without a look at the rows first. It says how many it settled.
func settleAll(ctx context.Context, tx *pgfile.Tx, changes []outbox.Change, now time.Time) (settled int, err error) {
	order := make([]int, len(changes))
	for i := range changes {
		if changes[i].Move != outbox.Settle {
			return 0, nil
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(changes[a].ClaimID[:], changes[b].ClaimID[:]) })
	ids, payments := make([][16]byte, len(order)), make([][16]byte, len(order))
	versions, netFees, recordedAts := make([]int64, len(order)), make([]int64, len(order)), make([]time.Time, len(order))
	for i, at := range order {
		change := &changes[at]
		ids[i], versions[i], netFees[i] = change.ClaimID, int64(change.Version), int64(change.Paid.NetFee)
		payments[i], recordedAts[i] = change.Paid.PaymentID, change.Paid.RecordedAt
	}
	tx.Queue(settlePaid, ids, versions, netFees, payments, recordedAts, now).Exec(func(tag pgconn.CommandTag) error {
		settled = int(tag.RowsAffected())
		return nil
	})
	return settled, tx.Flush(ctx)
}

// Apply makes the changes in one transaction; see outbox.Rows. Where it can not settle them
// all at once, it takes hold of the rows, makes the changes to what it has read, in their
// order, and writes what has become of each row: two round trips, however many changes there
// are. A Settle with another amount makes the row Dead and does not count as applied.
func (s *Store) Apply(ctx context.Context, changes []outbox.Change, now time.Time) (int, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	applied := 0
	err := s.schema.Write(ctx, "apply outbox changes", func(ctx context.Context, tx *pgfile.Tx) error {
		tx.Queue(planByIDs)
		var err error
		if applied, err = settleAll(ctx, tx, changes, now); err != nil || applied == len(changes) {
			return err
		}
		ids := make([][16]byte, len(changes))
		for i := range changes {
			ids[i] = changes[i].ClaimID
		}
		held := make(map[uuid.UUID]*heldRow, len(changes))
		tx.Queue(lockRows, ids).Query(func(rows pgx.Rows) error { return scanHeld(rows, held) })
		if err := tx.Flush(ctx); err != nil {
			return fmt.Errorf("lock rows: %w", err)
		}
		for i := range changes {
			row := held[changes[i].ClaimID]
			if row == nil || row.settled || row.version != changes[i].Version {
				continue
			}
			met, err := row.apply(&changes[i], now)
			if err != nil {
				return fmt.Errorf("change %s: %w", changes[i].Key, err)
			}
			if met {
				applied++
			}
		}
		writeHeld(tx, held, now)
		return nil
	})
	if err != nil {
		return 0, translate(err)
	}
	return applied, nil
}

// heldRow is an outbox row while its changes are made. Nobody else changes it.
type heldRow struct {
	version, gen, attempts int
	state                  outbox.State
	dueAt, publishedAt     time.Time // publishedAt: epoch until published
	sequence               int64
	reason                 string
	netFee                 money.Cents

	changed, settled bool
	paymentID        [16]byte  // once settled
	recordedAt       time.Time // once settled
}

func scanHeld(rows pgx.Rows, into map[uuid.UUID]*heldRow) error {
	for rows.Next() {
		var id [16]byte
		var state string
		row := &heldRow{}
		if err := rows.Scan(&id, &row.version, &row.gen, &state, &row.attempts, &row.dueAt, &row.sequence, &row.publishedAt,
			&row.reason, &row.netFee); err != nil {
			return err
		}
		row.state = outbox.State(state)
		into[id] = row
	}
	return rows.Err()
}

// apply makes one change and says whether its guard was met; see outbox.Move.
func (r *heldRow) apply(change *outbox.Change, now time.Time) (bool, error) {
	sameGen := r.gen == change.Gen
	pending, sent := r.state == outbox.Pending, r.state == outbox.Published || r.state == outbox.Dead
	met := false
	switch change.Move {
	case outbox.MarkPublished:
		if met = pending && sameGen; met {
			r.state, r.dueAt, r.sequence, r.publishedAt, r.reason = outbox.Published, change.DueAt, int64(change.Sequence), now, ""
		}
	case outbox.MarkFailed:
		if met = pending && sameGen; met {
			r.attempts++
			r.dueAt, r.reason = change.DueAt, clip(change.Reason, outbox.MaxReasonBytes)
		}
	case outbox.Postpone:
		if met = sent && sameGen; met {
			r.dueAt = change.DueAt
		}
	case outbox.AskNow:
		if met = sent; met {
			r.dueAt = change.DueAt
		}
	case outbox.Resend:
		if met = sent && sameGen; met {
			r.state, r.dueAt, r.attempts, r.reason = outbox.Pending, change.DueAt, 0, ""
			r.gen++
			r.sequence, r.publishedAt = 0, time.Unix(0, 0)
		}
	case outbox.MarkDead:
		if met = r.state != outbox.Discarded; met {
			r.state, r.dueAt, r.reason = outbox.Dead, change.DueAt, clip(change.Reason, outbox.MaxReasonBytes)
		}
	case outbox.MarkDiscarded:
		met = true
		r.state, r.reason = outbox.Discarded, clip(change.Reason, outbox.MaxReasonBytes)
	case outbox.Settle:
		return r.settle(change), nil
	default:
		return false, fmt.Errorf("unknown move %d", change.Move)
	}
	r.changed = r.changed || met
	return met, nil
}

// settle says whether payments recorded what the row says. If not, the row is dead.
func (r *heldRow) settle(change *outbox.Change) bool {
	if r.netFee != change.Paid.NetFee {
		r.state, r.dueAt, r.reason, r.changed = outbox.Dead, change.DueAt, outbox.ReasonAmount, true
		return false
	}
	r.settled, r.paymentID, r.recordedAt = true, change.Paid.PaymentID, change.Paid.RecordedAt
	return true
}

// writeHeld writes what became of the rows. They are locked, so their order is free.
func writeHeld(tx *pgfile.Tx, held map[uuid.UUID]*heldRow, now time.Time) {
	var changed, settled struct {
		ids, payments                 [][16]byte
		gens, attempts, sequences     []int64
		states, reasons               []string
		due, publishedAt, recordedAts []time.Time
	}
	for id, row := range held {
		switch {
		case row.settled:
			settled.ids = append(settled.ids, id)
			settled.gens = append(settled.gens, int64(row.gen))
			settled.payments = append(settled.payments, row.paymentID)
			settled.recordedAts = append(settled.recordedAts, row.recordedAt)
		case row.changed:
			changed.ids = append(changed.ids, id)
			changed.gens = append(changed.gens, int64(row.gen))
			changed.states = append(changed.states, string(row.state))
			changed.attempts = append(changed.attempts, int64(row.attempts))
			changed.due = append(changed.due, row.dueAt)
			changed.sequences = append(changed.sequences, row.sequence)
			changed.publishedAt = append(changed.publishedAt, row.publishedAt)
			changed.reasons = append(changed.reasons, row.reason)
		}
	}
	if len(changed.ids) > 0 {
		tx.Queue(updateRows, changed.ids, changed.gens, changed.states, changed.attempts, changed.due,
			changed.sequences, changed.publishedAt, changed.reasons)
	}
	if len(settled.ids) > 0 {
		tx.Queue(settleRows, settled.ids, settled.gens, settled.payments, settled.recordedAts, now)
	}
}

// clip cuts a reason to what is kept, between two characters. Postgres takes no NUL.
func clip(reason string, limit int) string {
	reason = strings.ReplaceAll(strings.ToValidUTF8(reason, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
	if len(reason) <= limit {
		return reason
	}
	end := limit
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

const backlogQuery = `SELECT state, count(*), count(*) FILTER (WHERE attempts > 0), min(received_at) FROM outbox GROUP BY state`

// Backlog counts the rows; see outbox.Rows.
func (s *Store) Backlog(ctx context.Context) (outbox.Backlog, error) {
	var backlog outbox.Backlog
	err := s.read(ctx, "count outbox rows", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, backlogQuery)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var state string
			var count, failed int
			var oldest time.Time
			if err := rows.Scan(&state, &count, &failed, &oldest); err != nil {
				return err
			}
			addBacklog(&backlog, outbox.State(state), count, failed, oldest.UTC())
		}
		return rows.Err()
	})
	return backlog, err
}

func addBacklog(backlog *outbox.Backlog, state outbox.State, count, failed int, oldest time.Time) {
	switch state {
	case outbox.Pending:
		backlog.Pending, backlog.Failed = count, failed
	case outbox.Published:
		backlog.Published = count
	case outbox.Dead:
		backlog.Dead = count
		return
	case outbox.Discarded:
		backlog.Discarded = count
		return
	}
	if backlog.Oldest.IsZero() || oldest.Before(backlog.Oldest) {
		backlog.Oldest = oldest
	}
}
