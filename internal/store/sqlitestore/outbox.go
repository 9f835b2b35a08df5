package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

const rowColumns = `claim_id, version, gen, state, attempts, sequence, published_at, net_fee_cents, postings, accepted_at,
	traceparent, due_at, claim_seq`

// Each queue is given in its order by an index; the two states of the second one are merged.
const (
	isDue        = "due_at <= ?1 AND (due_at, claim_seq) > (?2, ?3)"
	dueToPublish = "SELECT " + rowColumns + " FROM outbox WHERE state = 'pending' AND " + isDue + " ORDER BY due_at, claim_seq LIMIT ?4"
	dueToAsk     = "SELECT " + rowColumns + " FROM outbox WHERE state = 'published' AND " + isDue + " UNION ALL " +
		"SELECT " + rowColumns + " FROM outbox WHERE state = 'dead' AND " + isDue + " ORDER BY due_at, claim_seq LIMIT ?4"
)

// Due gives the rows that one of the workers waits for; see outbox.Rows.
func (s *Store) Due(ctx context.Context, queue outbox.Queue, now time.Time, after outbox.Place, limit int) ([]outbox.Row, error) {
	query := dueToPublish
	if queue == outbox.ToAsk {
		query = dueToAsk
	}
	rows, err := s.file.Reader().QueryContext(ctx, query, sqlitefile.Micros(now), sqlitefile.Micros(after.DueAt), after.Seq, limit)
	if err != nil {
		return nil, fmt.Errorf("read due outbox rows: %w", translate(err))
	}
	defer func() { _ = rows.Close() }()
	var due []outbox.Row
	for rows.Next() {
		row, err := scanRow(rows)
		if err != nil {
			return nil, fmt.Errorf("read due outbox row: %w", translate(err))
		}
		due = append(due, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read due outbox rows: %w", translate(err))
	}
	return due, nil
}

func scanRow(rows *sql.Rows) (outbox.Row, error) {
	var row outbox.Row
	var sequence, publishedAt, acceptedAt, dueAt int64
	var postings string
	if err := rows.Scan(&row.ClaimID, &row.Version, &row.Gen, &row.State, &row.Attempts, &sequence, &publishedAt,
		&row.NetFee, &postings, &acceptedAt, &row.Traceparent, &dueAt, &row.Place.Seq); err != nil {
		return outbox.Row{}, err
	}
	row.Sequence = uint64(sequence)
	row.PublishedAt = sqlitefile.Time(publishedAt)
	row.AcceptedAt = sqlitefile.Time(acceptedAt)
	row.Place.DueAt = sqlitefile.Time(dueAt)
	var err error
	row.Postings, err = store.DecodePostings(postings)
	return row, err
}

// moveStatements has a statement for each move, guard included.
type moveStatements struct {
	published, failed, postpone, askNow, resend, dead, discarded *sql.Stmt
	settling, settle, settlement, otherAmount                    *sql.Stmt
}

// The claims table finds the row, so that the outbox needs no index over random ids.
const (
	theRow = "claim_seq = (SELECT seq FROM claims WHERE claim_id = ? AND version = ?)"
	isSent = "state IN ('published', 'dead')"
)

func prepareMoves(prepare func(string) *sql.Stmt) moveStatements {
	return moveStatements{
		published: prepare(`UPDATE outbox SET state = 'published', due_at = ?, sequence = ?, published_at = ?, reason = ''
			WHERE ` + theRow + " AND gen = ? AND state = 'pending'"),
		failed: prepare(`UPDATE outbox SET attempts = attempts + 1, due_at = ?, reason = ?
			WHERE ` + theRow + " AND gen = ? AND state = 'pending'"),
		postpone: prepare("UPDATE outbox SET due_at = ? WHERE " + theRow + " AND gen = ? AND " + isSent),
		askNow:   prepare("UPDATE outbox SET due_at = ? WHERE " + theRow + " AND " + isSent),
		resend: prepare(`UPDATE outbox SET state = 'pending', due_at = ?, gen = gen + 1, attempts = 0, reason = '',
			sequence = 0, published_at = 0 WHERE ` + theRow + " AND gen = ? AND " + isSent),
		dead:        prepare("UPDATE outbox SET state = 'dead', due_at = ?, reason = ? WHERE " + theRow + " AND state <> 'discarded'"),
		discarded:   prepare("UPDATE outbox SET state = 'discarded', reason = ? WHERE " + theRow),
		settling:    prepare("SELECT claim_seq, gen, net_fee_cents FROM outbox WHERE " + theRow),
		settle:      prepare("DELETE FROM outbox WHERE claim_seq = ?"),
		otherAmount: prepare("UPDATE outbox SET state = 'dead', due_at = ?, reason = ? WHERE claim_seq = ?"),
		settlement: prepare(`INSERT INTO settlements (claim_seq, version, gen, payment_id, recorded_at, settled_at)
			VALUES (?, ?, ?, ?, ?, ?)`),
	}
}

// Apply makes the changes in one transaction; see outbox.Rows. A Settle with another
// amount makes the row Dead and does not count as applied.
func (s *Store) Apply(ctx context.Context, changes []outbox.Change, now time.Time) (int, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	applied := 0
	err := s.file.Write(ctx, "apply outbox changes", func(ctx context.Context, tx *sql.Tx) error {
		for i := range changes {
			met, err := s.apply(ctx, tx, &changes[i], now)
			if err != nil {
				return fmt.Errorf("change %s: %w", changes[i].Key, err)
			}
			if met {
				applied++
			}
		}
		return nil
	})
	if err != nil {
		return 0, translate(err)
	}
	return applied, nil
}

// apply makes one change and says whether its guard was met.
func (s *Store) apply(ctx context.Context, tx *sql.Tx, change *outbox.Change, now time.Time) (bool, error) {
	var statement *sql.Stmt
	var values []any
	id, version, gen, dueAt := change.ClaimID[:], change.Version, change.Gen, sqlitefile.Micros(change.DueAt)
	reason := clip(change.Reason, outbox.MaxReasonBytes)
	switch change.Move {
	case outbox.MarkPublished:
		statement = s.moves.published
		values = []any{dueAt, int64(change.Sequence), sqlitefile.Micros(now), id, version, gen}
	case outbox.MarkFailed:
		statement, values = s.moves.failed, []any{dueAt, reason, id, version, gen}
	case outbox.Postpone:
		statement, values = s.moves.postpone, []any{dueAt, id, version, gen}
	case outbox.AskNow:
		statement, values = s.moves.askNow, []any{dueAt, id, version}
	case outbox.Resend:
		statement, values = s.moves.resend, []any{dueAt, id, version, gen}
	case outbox.MarkDead:
		statement, values = s.moves.dead, []any{dueAt, reason, id, version}
	case outbox.MarkDiscarded:
		statement, values = s.moves.discarded, []any{reason, id, version}
	case outbox.Settle:
		return s.settle(ctx, tx, change, now)
	default:
		return false, fmt.Errorf("unknown move %d", change.Move)
	}
	result, err := tx.StmtContext(ctx, statement).ExecContext(ctx, values...)
	if err != nil {
		return false, err
	}
	changed, err := result.RowsAffected()
	return changed > 0, err
}

// settle replaces the row by a settlement, if payments recorded what it says.
func (s *Store) settle(ctx context.Context, tx *sql.Tx, change *outbox.Change, now time.Time) (bool, error) {
	var claimSeq, netFee int64
	var gen int
	row := tx.StmtContext(ctx, s.moves.settling).QueryRowContext(ctx, change.ClaimID[:], change.Version)
	switch err := row.Scan(&claimSeq, &gen, &netFee); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	}
	settledAt, dueAt := sqlitefile.Micros(now), sqlitefile.Micros(change.DueAt)
	if netFee != int64(change.Paid.NetFee) {
		_, err := tx.StmtContext(ctx, s.moves.otherAmount).ExecContext(ctx, dueAt, outbox.ReasonAmount, claimSeq)
		return false, err
	}
	if _, err := tx.StmtContext(ctx, s.moves.settle).ExecContext(ctx, claimSeq); err != nil {
		return false, err
	}
	_, err := tx.StmtContext(ctx, s.moves.settlement).ExecContext(ctx, claimSeq, change.Version, gen,
		change.Paid.PaymentID[:], sqlitefile.Micros(change.Paid.RecordedAt), settledAt)
	return err == nil, err
}

// clip cuts a reason to what is kept, between two characters.
func clip(reason string, limit int) string {
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	if len(reason) <= limit {
		return reason
	}
	end := limit
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

// backlogQuery is answered by the index alone.
const backlogQuery = `SELECT state, count(*), count(*) FILTER (WHERE attempts > 0), min(accepted_at)
	FROM outbox GROUP BY state`

// Backlog counts the rows; see outbox.Rows.
func (s *Store) Backlog(ctx context.Context) (outbox.Backlog, error) {
	backlog, err := readBacklog(ctx, s.file.Reader())
	if err != nil {
		return outbox.Backlog{}, fmt.Errorf("count outbox rows: %w", translate(err))
	}
	return backlog, nil
}

func readBacklog(ctx context.Context, db *sql.DB) (outbox.Backlog, error) {
	rows, err := db.QueryContext(ctx, backlogQuery)
	if err != nil {
		return outbox.Backlog{}, err
	}
	defer func() { _ = rows.Close() }()
	var backlog outbox.Backlog
	for rows.Next() {
		var state outbox.State
		var count, failed int
		var micros int64
		if err := rows.Scan(&state, &count, &failed, &micros); err != nil {
			return outbox.Backlog{}, err
		}
		oldest := sqlitefile.Time(micros)
		switch state {
		case outbox.Pending:
			backlog.Pending, backlog.Failed = count, failed
		case outbox.Published:
			backlog.Published = count
		case outbox.Dead:
			backlog.Dead = count
			continue
		case outbox.Discarded:
			backlog.Discarded = count
			continue
		}
		if backlog.Oldest.IsZero() || oldest.Before(backlog.Oldest) {
			backlog.Oldest = oldest
		}
	}
	return backlog, rows.Err()
}
