package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

const existingQuery = "SELECT claim_id, fingerprint, first_line_id, received_at FROM claim_keys WHERE claim_id = ANY($1)"

const addTotals = `INSERT INTO provider_totals AS t (provider_npi, total_net_fee_cents, claim_count)
	SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
	ON CONFLICT (provider_npi) DO UPDATE SET
	total_net_fee_cents = t.total_net_fee_cents + excluded.total_net_fee_cents,
	claim_count = t.claim_count + excluded.claim_count`

const addImported = `UPDATE imports SET claims_accepted = claims_accepted + $2, lines_accepted = lines_accepted + $3,
	net_fee_cents = net_fee_cents + $4, accepted_net_fee_cents = accepted_net_fee_cents + $4
	WHERE import_id = $1 AND state = 'running' AND NOT dry_run`

// Accept stores the batch in one transaction; see store.Engine. A provider's total
// that would not fit is an error of no kind that wraps money.ErrRange.
//
// It inserts the claims, and only where one turns out to be there already does it look which,
// and insert the others. Whoever inserts the same claim at the same time waits for the first to
// commit, and then looks again: each time around, at least one claim more is found. Where one was
// sent again so are the next, as a rule, and so it then looks first until it finds none.
func (s *Store) Accept(ctx context.Context, batch []store.Submission, now time.Time) ([]store.Outcome, error) {
	lines := 0
	for i := range batch {
		lines += len(batch[i].Claim.Lines)
	}
	if len(batch) < 1 || len(batch) > store.MaxBatchClaims || lines > store.MaxBatchLines {
		return nil, fmt.Errorf("accept %d claims of %d lines: want 1 to %d claims of at most %d lines",
			len(batch), lines, store.MaxBatchClaims, store.MaxBatchLines)
	}
	look := s.lookFirst.Load()
	for range len(batch) + 2 {
		outcomes, err := s.accept(ctx, batch, now, look)
		switch {
		case err == nil:
			return outcomes, nil
		case pgfile.IsOutOfRange(err):
			return nil, fmt.Errorf("%w: %w", money.ErrRange, pgfile.Classify(err))
		case !pgfile.IsDuplicate(err, "claim_keys"):
			return nil, translate(err)
		}
		look = true
	}
	return nil, fmt.Errorf("accept claims: others go on accepting them: %w", store.ErrUnavailable)
}

// accept is one try of Accept.
func (s *Store) accept(ctx context.Context, batch []store.Submission, now time.Time, look bool) ([]store.Outcome, error) {
	known := make(map[uuid.UUID]stored, len(batch))
	if look {
		if err := s.look(ctx, batch, known); err != nil {
			return nil, err
		}
	}
	rows := newAcceptRows(now)
	claims, lines := 0, 0
	for i := range batch {
		if _, exists := known[batch[i].Claim.ID]; !exists {
			claims, lines = claims+1, lines+len(batch[i].Claim.Lines)
		}
	}
	if claims > 0 {
		var err error
		if rows.nextSeq, rows.nextLine, err = s.ids(ctx, claims, lines, rows.now); err != nil {
			return nil, err
		}
		rows.claims.grow(claims)
		rows.lines.grow(lines)
	}
	outcomes, err := rows.collect(batch, known)
	if err != nil {
		return nil, fmt.Errorf("accept claims: %w", err)
	}
	if len(rows.keyID) == 0 {
		return outcomes, nil
	}
	rows.sortKeys()
	err = s.schema.Write(ctx, "accept claims", rows.insert)
	return outcomes, err
}

// look finds the claims of a batch that are there already, on the standbys too.
func (s *Store) look(ctx context.Context, batch []store.Submission, known map[uuid.UUID]stored) error {
	err := s.schema.Read(ctx, "accept claims: look for those there already", func(ctx context.Context, pool *pgxpool.Pool) error {
		look := &pgx.Batch{}
		look.Queue(existingQuery, claimIDs(batch)).Query(scanStored(known))
		look.Queue(pgfile.AwaitStandbys)
		return pool.SendBatch(ctx, look).Close()
	})
	s.lookFirst.Store(err == nil && len(known) > 0)
	return err
}

func claimIDs(batch []store.Submission) [][16]byte {
	ids := make([][16]byte, len(batch))
	for i := range batch {
		ids[i] = batch[i].Claim.ID
	}
	return ids
}

// stored is what Accept needs of a claim that is there already.
type stored struct {
	fingerprint claim.Fingerprint
	outcome     store.Outcome
}

// scanStored reads the rows of existingQuery.
func scanStored(into map[uuid.UUID]stored) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var id [16]byte
			var fingerprint []byte
			found := stored{outcome: store.Outcome{Existing: true}}
			if err := rows.Scan(&id, &fingerprint, &found.outcome.FirstLineID, &found.outcome.ReceivedAt); err != nil {
				return err
			}
			copy(found.fingerprint[:], fingerprint)
			found.outcome.ReceivedAt = found.outcome.ReceivedAt.UTC()
			into[id] = found
		}
		return rows.Err()
	}
}

// acceptRows collects the values of all rows that a batch adds.
type acceptRows struct {
	now               time.Time // UTC, microseconds
	nextSeq, nextLine int64

	keyID          pgfile.UUIDs
	keySeq         pgfile.Int8s
	keyLine        pgfile.Int8s
	keyReceived    pgfile.Times
	keyFingerprint pgfile.Blobs

	claims claimColumns
	lines  lineColumns
	shares struct {
		npi, seq, net pgfile.Int8s
		received      pgfile.Times
	}
	messages struct {
		id                    pgfile.UUIDs
		seq, version, net     pgfile.Int8s
		received, due         pgfile.Times
		postings, traceparent pgfile.Texts
	}
	totals   map[claim.NPI]store.ProviderTotal
	imported map[uuid.UUID]imported // nil where no new claim is of an import
}

// imported counts the new claims and lines of an import, and adds up their net fees.
type imported struct {
	claims, lines int64
	netFee        money.Cents
}

func newAcceptRows(now time.Time) *acceptRows {
	return &acceptRows{now: now.UTC().Truncate(time.Microsecond), totals: make(map[claim.NPI]store.ProviderTotal)}
}

// collect decides on every submission. known grows by those that are new, so
// that the second of two equal ones finds the first.
func (r *acceptRows) collect(batch []store.Submission, known map[uuid.UUID]stored) ([]store.Outcome, error) {
	outcomes := make([]store.Outcome, len(batch))
	for i := range batch {
		c := batch[i].Claim
		outcome, exists := find(known, c)
		if !exists {
			outcome = store.Outcome{FirstLineID: r.nextLine, ReceivedAt: r.now}
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
	seq := r.nextSeq
	r.nextSeq++
	r.keyID = append(r.keyID, c.ID)
	r.keySeq = append(r.keySeq, seq)
	r.keyLine = append(r.keyLine, r.nextLine)
	r.keyReceived = append(r.keyReceived, r.now)
	r.keyFingerprint = append(r.keyFingerprint, c.Fingerprint[:])
	r.claims.add(seq, r.now, r.nextLine, c, warnings)
	for i := range c.Lines {
		r.lines.add(r.nextLine, r.now, seq, &c.Lines[i])
		r.nextLine++
	}
	for _, share := range c.Shares() {
		r.shares.npi = append(r.shares.npi, int64(share.ProviderNPI))
		r.shares.seq = append(r.shares.seq, seq)
		r.shares.net = append(r.shares.net, int64(share.NetFee))
		r.shares.received = append(r.shares.received, r.now)
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
	r.messages.id = append(r.messages.id, c.ID)
	r.messages.seq = append(r.messages.seq, seq)
	r.messages.version = append(r.messages.version, int64(message.Version))
	r.messages.net = append(r.messages.net, int64(message.NetFee))
	r.messages.received = append(r.messages.received, r.now)
	r.messages.due = append(r.messages.due, r.now)
	r.messages.postings = append(r.messages.postings, store.EncodePostings(message.Postings))
	r.messages.traceparent = append(r.messages.traceparent, message.Traceparent)
	return nil
}

// sortKeys brings the keys into the order in which every batch inserts them: two that
// have claims in common then wait for one another, but never both.
func (r *acceptRows) sortKeys() {
	order := make([]int, len(r.keyID))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(r.keyID[a][:], r.keyID[b][:]) })
	r.keyID = permute(r.keyID, order)
	r.keySeq = permute(r.keySeq, order)
	r.keyLine = permute(r.keyLine, order)
	r.keyFingerprint = permute(r.keyFingerprint, order)
}

func permute[S ~[]E, E any](values S, order []int) S {
	permuted := make(S, len(values))
	for i, from := range order {
		permuted[i] = values[from]
	}
	return permuted
}

// insert writes what was collected: first the keys, for if one is taken all the rest is
// in vain; last the totals and the imports, for their rows are the ones that other
// committers wait for. All take them in the same order.
func (r *acceptRows) insert(ctx context.Context, tx *pgfile.Tx) error {
	for _, rows := range []pgfile.Rows{r.keyRows(), r.claims.rows(), r.lines.rows(), r.shareRows(), r.messageRows()} {
		if err := tx.Insert(ctx, rows); err != nil {
			return fmt.Errorf("insert into %s: %w", rows.Table, err)
		}
	}
	npis := slices.Sorted(maps.Keys(r.totals))
	ids, totals, counts := make([]int64, len(npis)), make([]int64, len(npis)), make([]int64, len(npis))
	for i, npi := range npis {
		ids[i], totals[i], counts[i] = int64(npi), int64(r.totals[npi].TotalNetFee), r.totals[npi].ClaimCount
	}
	tx.Queue(addTotals, ids, totals, counts)
	return r.countImported(ctx, tx)
}

// countImported adds to the imports that claims are of. Whether they still run has to be
// known before the commit, so it costs a round trip.
func (r *acceptRows) countImported(ctx context.Context, tx *pgfile.Tx) error {
	if r.imported == nil {
		return nil
	}
	byID := func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
	for _, id := range slices.SortedFunc(maps.Keys(r.imported), byID) {
		count := r.imported[id]
		tx.Queue(addImported, [16]byte(id), count.claims, count.lines, int64(count.netFee)).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				return fmt.Errorf("count claims of import %s: %w", id, store.ErrLostImport)
			}
			return nil
		})
	}
	return tx.Flush(ctx)
}
