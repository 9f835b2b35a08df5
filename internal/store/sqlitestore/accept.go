package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"modernc.org/sqlite"
	"modernc.org/sqlite/lib"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

// existingQuery finds claims that are there already.
const existingQuery = `SELECT c.claim_id, c.fingerprint, c.first_line_id, c.received_at
	FROM json_each(?) AS asked CROSS JOIN claims AS c ON c.claim_id = unhex(asked.value)`

// messageRow is the row of a message: what every new one has stands in the statement, which
// is cheaper than to bind it.
const messageRow = "(?, ?, ?, ?, 'pending', ?, 0, '', 0, 0, ?, ?, ?, ?)"

// acceptStatements is all that Accept runs.
type acceptStatements struct {
	existing, last, imported                *sql.Stmt
	claims, lines, shares, totals, messages insert
}

// prepareAccept prepares them. OR FAIL: SQLite need not keep what a page was before the statement,
// for what fails ends the transaction. Where there is a foreign key it keeps it all the same.
func prepareAccept(prepare func(string) *sql.Stmt) acceptStatements {
	return acceptStatements{
		existing: prepare(existingQuery),
		last:     prepare("SELECT coalesce((SELECT max(seq) FROM claims), 0), coalesce((SELECT max(id) FROM lines), 0)"),
		claims: prepareInsert(prepare, `INSERT OR FAIL INTO claims (seq, claim_id, version, submitter, key_kind, key_value, external_id,
			fingerprint, first_line_id, line_count, net_fee_cents, expected_plan_payment_cents, warnings, received_at)`, bound(14), ""),
		lines: prepareInsert(prepare, `INSERT INTO lines (id, claim_seq, service_date, procedure, quadrant, plan_group_number,
			subscriber_number, provider_npi, provider_fees_cents, allowed_fees_cents, member_coinsurance_cents,
			member_copay_cents)`, bound(12), ""),
		shares: prepareInsert(prepare, "INSERT INTO claim_providers (provider_npi, claim_seq, net_fee_cents)", bound(3), ""),
		totals: prepareInsert(prepare, "INSERT INTO provider_totals (provider_npi, total_net_fee_cents, claim_count)", bound(3),
			` ON CONFLICT (provider_npi) DO UPDATE SET
			total_net_fee_cents = total_net_fee_cents + excluded.total_net_fee_cents,
			claim_count = claim_count + excluded.claim_count`),
		messages: prepareInsert(prepare, `INSERT INTO outbox (claim_seq, claim_id, version, gen, state, due_at, attempts,
			reason, sequence, published_at, net_fee_cents, postings, accepted_at, traceparent)`, messageRow, ""),
		imported: prepare(`UPDATE imports SET claims_accepted = claims_accepted + ?1, lines_accepted = lines_accepted + ?2,
			net_fee_cents = net_fee_cents + ?3, accepted_net_fee_cents = accepted_net_fee_cents + ?3
			WHERE import_id = ?4 AND state = 'running' AND dry_run = 0`),
	}
}

// Accept stores the batch in one transaction; see store.Engine. A provider's total
// that would not fit is an error of no kind that wraps money.ErrRange.
func (s *Store) Accept(ctx context.Context, batch []store.Submission, now time.Time) ([]store.Outcome, error) {
	lines := 0
	for i := range batch {
		lines += len(batch[i].Claim.Lines)
	}
	if len(batch) < 1 || len(batch) > store.MaxBatchClaims || lines > store.MaxBatchLines {
		return nil, fmt.Errorf("accept %d claims of %d lines: want 1 to %d claims of at most %d lines",
			len(batch), lines, store.MaxBatchClaims, store.MaxBatchLines)
	}
	var outcomes []store.Outcome
	err := s.file.Write(ctx, "accept claims", func(ctx context.Context, tx *sql.Tx) error {
		known, err := existing(batch, func(list string) (*sql.Rows, error) {
			return tx.StmtContext(ctx, s.accept.existing).QueryContext(ctx, list)
		})
		if err != nil {
			return fmt.Errorf("look for claims there already: %w", err)
		}
		rows := acceptRows{
			now: now, claims: s.accept.claims.room(len(batch)), lines: s.accept.lines.room(lines),
			shares: s.accept.shares.room(len(batch)), messages: s.accept.messages.room(len(batch)),
		}
		if err := tx.StmtContext(ctx, s.accept.last).QueryRowContext(ctx).Scan(&rows.lastSeq, &rows.lastLine); err != nil {
			return fmt.Errorf("read last ids: %w", err)
		}
		if outcomes, err = rows.collect(batch, known); err != nil {
			return err
		}
		return s.insertAll(ctx, tx, &rows)
	})
	if err != nil {
		return nil, translate(err)
	}
	return outcomes, nil
}

// stored is what Accept needs of a claim that is there already.
type stored struct {
	fingerprint claim.Fingerprint
	outcome     store.Outcome
}

// existing finds those claims of the batch that are there already, in one query: run runs
// existingQuery with a list of ids.
func existing(batch []store.Submission, run func(list string) (*sql.Rows, error)) (map[uuid.UUID]stored, error) {
	asked := make([]string, len(batch))
	for i := range batch {
		asked[i] = hex.EncodeToString(batch[i].Claim.ID[:])
	}
	list, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	rows, err := run(string(list))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	known := make(map[uuid.UUID]stored, len(batch))
	for rows.Next() {
		var id uuid.UUID
		var fingerprint []byte
		var receivedAt int64
		found := stored{outcome: store.Outcome{Existing: true}}
		if err := rows.Scan(&id, &fingerprint, &found.outcome.FirstLineID, &receivedAt); err != nil {
			return nil, err
		}
		copy(found.fingerprint[:], fingerprint)
		found.outcome.ReceivedAt = sqlitefile.Time(receivedAt)
		known[id] = found
	}
	return known, rows.Err()
}

// acceptRows collects the values of all rows that a batch adds.
type acceptRows struct {
	now                             time.Time
	lastSeq, lastLine               int64
	claims, lines, shares, messages []any
	totals                          map[claim.NPI]store.ProviderTotal
	imported                        map[uuid.UUID]imported // nil where no new claim is of an import
}

// imported counts the new claims and lines of an import, and adds up their net fees.
type imported struct {
	claims, lines int64
	netFee        money.Cents
}

// collect decides on every submission. known grows by those that are new, so
// that the second of two equal ones finds the first.
func (r *acceptRows) collect(batch []store.Submission, known map[uuid.UUID]stored) ([]store.Outcome, error) {
	r.totals = make(map[claim.NPI]store.ProviderTotal)
	outcomes := make([]store.Outcome, len(batch))
	for i := range batch {
		c := batch[i].Claim
		outcome, exists := find(known, c)
		if !exists {
			outcome = store.Outcome{FirstLineID: r.lastLine + 1, ReceivedAt: sqlitefile.Time(sqlitefile.Micros(r.now))}
			if err := r.add(&batch[i]); err != nil {
				return nil, fmt.Errorf("claim %s: %w", c.ID, err)
			}
			again := outcome
			again.Existing = true
			known[c.ID] = stored{c.Fingerprint, again}
		}
		outcomes[i] = outcome
	}
	return outcomes, nil
}

// find gives the outcome of a claim whose id is known; false: it is not.
func find(known map[uuid.UUID]stored, c *claim.Claim) (store.Outcome, bool) {
	found, exists := known[c.ID]
	if exists && found.fingerprint != c.Fingerprint {
		return store.Outcome{Err: store.ErrOtherClaim}, true
	}
	return found.outcome, exists
}

// add adds the rows of one new claim.
func (r *acceptRows) add(submission *store.Submission) error {
	c := submission.Claim
	warnings, err := store.EncodeWarnings(c.Warnings)
	if err != nil {
		return err
	}
	r.lastSeq++
	seq, receivedAt := r.lastSeq, sqlitefile.Micros(r.now)
	r.claims = append(r.claims, seq, c.ID[:], int64(c.Version), c.Key.Submitter, string(c.Key.Kind), c.Key.Value, c.ExternalID,
		c.Fingerprint[:], r.lastLine+1, int64(len(c.Lines)), int64(c.NetFee()), int64(c.ExpectedPlanPayment()), nullable(warnings), receivedAt)
	for i := range c.Lines {
		r.lastLine++
		r.lines = appendLine(r.lines, r.lastLine, seq, &c.Lines[i])
	}
	for _, share := range c.Shares() {
		r.shares = append(r.shares, int64(share.ProviderNPI), seq, int64(share.NetFee))
		total := r.totals[share.ProviderNPI]
		if total.TotalNetFee, err = total.TotalNetFee.Add(share.NetFee); err != nil {
			return fmt.Errorf("total of provider %s: %w", share.ProviderNPI, err)
		}
		total.ClaimCount++
		r.totals[share.ProviderNPI] = total
	}
	if submission.Import != uuid.Nil {
		if r.imported == nil {
			r.imported = make(map[uuid.UUID]imported)
		}
		count := r.imported[submission.Import]
		if count.netFee, err = count.netFee.Add(c.NetFee()); err != nil {
			return fmt.Errorf("net fee of import %s: %w", submission.Import, err)
		}
		r.imported[submission.Import] = imported{count.claims + 1, count.lines + int64(len(c.Lines)), count.netFee}
	}
	message := submission.Message(r.now)
	r.messages = append(r.messages, seq, c.ID[:], int64(message.Version), int64(message.Gen), receivedAt,
		int64(message.NetFee), store.EncodePostings(message.Postings), sqlitefile.Micros(message.AcceptedAt), message.Traceparent)
	return nil
}

// appendLine appends the values of a line's row. Integers are int64 and texts strings, which
// database/sql hands on as they are.
func appendLine(values []any, id, claimSeq int64, line *claim.Line) []any {
	return append(values,
		id, claimSeq, line.ServiceDate.Unix(), line.Procedure, nullable(line.Quadrant), line.PlanGroupNumber,
		line.SubscriberNumber.Reveal(), int64(line.ProviderNPI), int64(line.ProviderFees), int64(line.AllowedFees),
		int64(line.MemberCoinsurance), int64(line.MemberCopay))
}

// nullable gives NULL for an empty text.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// insertAll writes what was collected.
func (s *Store) insertAll(ctx context.Context, tx *sql.Tx, rows *acceptRows) error {
	if err := s.accept.claims.run(ctx, tx, rows.claims); err != nil {
		return fmt.Errorf("insert claims: %w", err)
	}
	if err := s.accept.lines.run(ctx, tx, rows.lines); err != nil {
		return fmt.Errorf("insert lines: %w", err)
	}
	if err := s.accept.shares.run(ctx, tx, rows.shares); err != nil {
		return fmt.Errorf("insert providers of claims: %w", err)
	}
	totals := make([]any, 0, 3*len(rows.totals))
	for _, npi := range slices.Sorted(maps.Keys(rows.totals)) {
		totals = append(totals, int64(npi), int64(rows.totals[npi].TotalNetFee), rows.totals[npi].ClaimCount)
	}
	if err := s.accept.totals.run(ctx, tx, totals); err != nil {
		return fmt.Errorf("add to provider totals: %w", overflow(err))
	}
	if err := s.accept.messages.run(ctx, tx, rows.messages); err != nil {
		return fmt.Errorf("insert outbox rows: %w", err)
	}
	for id, count := range rows.imported {
		if err := wantRow(tx.StmtContext(ctx, s.accept.imported).ExecContext(ctx, count.claims, count.lines, int64(count.netFee), id[:])); err != nil {
			return fmt.Errorf("count claims of import %s: %w", id, overflow(err))
		}
	}
	return nil
}

// overflow says what it means when the sum of a total violates a constraint: it is no
// integer any more.
func overflow(err error) error {
	var failure *sqlite.Error
	if errors.As(err, &failure) && failure.Code()&0xff == sqlite3.SQLITE_CONSTRAINT {
		return fmt.Errorf("%w: %w", money.ErrRange, err)
	}
	return err
}
