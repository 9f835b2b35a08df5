package simulate_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// claimsDatabase is a claims database in memory, as far as delivery needs one: storetest
// holds it to the contract of the engines. What has to do with imports, exports and rate
// limits is not there.
type claimsDatabase struct {
	store.Engine // nil
	secret       [claim.IdentitySecretSize]byte

	mu       sync.Mutex
	claims   []*kept // in the order of acceptance
	byID     map[uuid.UUID]*kept
	totals   map[claim.NPI]store.ProviderTotal
	nextLine int64
}

// kept is one stored claim, and where it stands.
type kept struct {
	*claim.Claim
	cursor     int64
	firstLine  int64
	receivedAt time.Time
	row        *outbox.Row // nil: settled
	dueAt      time.Time
	reason     string
	settlement store.Payment
}

func newClaimsDatabase(secret [claim.IdentitySecretSize]byte) *claimsDatabase {
	return &claimsDatabase{
		secret: secret, byID: map[uuid.UUID]*kept{}, totals: map[claim.NPI]store.ProviderTotal{}, nextLine: 1,
	}
}

// Accept implements store.Engine.
func (d *claimsDatabase) Accept(ctx context.Context, batch []store.Submission, now time.Time) ([]store.Outcome, error) {
	if len(batch) < 1 || len(batch) > store.MaxBatchClaims {
		return nil, fmt.Errorf("accept %d claims: want 1 to %d", len(batch), store.MaxBatchClaims)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("accept %d claims: %w: %w", len(batch), store.ErrUnavailable, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	totals, err := d.totalsWith(batch)
	if err != nil {
		return nil, fmt.Errorf("accept %d claims: %w", len(batch), err)
	}
	d.totals = totals
	outcomes := make([]store.Outcome, len(batch))
	for i := range batch {
		outcomes[i] = d.insert(&batch[i], micros(now))
	}
	return outcomes, nil
}

// totalsWith gives the totals as the batch leaves them, or an error where one does not fit.
func (d *claimsDatabase) totalsWith(batch []store.Submission) (map[claim.NPI]store.ProviderTotal, error) {
	totals, seen := maps.Clone(d.totals), map[uuid.UUID]bool{}
	for i := range batch {
		made := batch[i].Claim
		if d.byID[made.ID] != nil || seen[made.ID] {
			continue
		}
		seen[made.ID] = true
		for _, share := range made.Shares() {
			total := totals[share.ProviderNPI]
			sum, err := money.Sum(total.TotalNetFee, share.NetFee)
			if err != nil {
				return nil, err
			}
			totals[share.ProviderNPI] = store.ProviderTotal{
				ProviderNPI: share.ProviderNPI, TotalNetFee: sum, ClaimCount: total.ClaimCount + 1,
			}
		}
	}
	return totals, nil
}

// insert stores one claim with its outbox row, unless it is there.
func (d *claimsDatabase) insert(submission *store.Submission, now time.Time) store.Outcome {
	made := submission.Claim
	if there := d.byID[made.ID]; there != nil {
		if there.Fingerprint != made.Fingerprint {
			return store.Outcome{Err: fmt.Errorf("accept claim %s: %w", made.ID, store.ErrOtherClaim)}
		}
		return store.Outcome{FirstLineID: there.firstLine, ReceivedAt: there.receivedAt, Existing: true}
	}
	k := &kept{
		Claim: made, cursor: int64(len(d.claims) + 1), firstLine: d.nextLine, receivedAt: now, dueAt: now,
		row: &outbox.Row{ClaimAccepted: submission.Message(now), State: outbox.Pending},
	}
	d.claims = append(d.claims, k)
	d.byID[made.ID] = k
	d.nextLine += int64(len(made.Lines))
	return store.Outcome{FirstLineID: k.firstLine, ReceivedAt: now}
}

// micros gives a time as databases keep it.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Due implements outbox.Rows.
func (d *claimsDatabase) Due(_ context.Context, queue outbox.Queue, now time.Time, after outbox.Place, limit int) ([]outbox.Row, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []*kept
	for _, k := range d.claims {
		if k.row == nil || k.dueAt.After(micros(now)) || cmp.Or(k.dueAt.Compare(micros(after.DueAt)), cmp.Compare(k.cursor, after.Seq)) <= 0 {
			continue
		}
		asked := k.row.State == outbox.Published || k.row.State == outbox.Dead
		if queue == outbox.ToAsk && asked || queue == outbox.ToPublish && k.row.State == outbox.Pending {
			due = append(due, k)
		}
	}
	slices.SortStableFunc(due, func(a, b *kept) int { return a.dueAt.Compare(b.dueAt) })
	var rows []outbox.Row
	for _, k := range due[:min(limit, len(due))] {
		row := *k.row
		row.Place = outbox.Place{DueAt: k.dueAt, Seq: k.cursor}
		rows = append(rows, row)
	}
	return rows, nil
}

// Apply implements outbox.Rows.
func (d *claimsDatabase) Apply(_ context.Context, changes []outbox.Change, now time.Time) (applied int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range changes {
		k := d.byID[changes[i].ClaimID]
		if k != nil && k.row != nil && k.Version == changes[i].Version && k.move(&changes[i], micros(now)) {
			applied++
		}
	}
	return applied, nil
}

// move makes one change, and says whether its guard was met.
func (k *kept) move(change *outbox.Change, now time.Time) bool {
	row, dueAt := *k.row, micros(change.DueAt)
	reason, same := clip(change.Reason), row.Gen == change.Gen
	sent := row.State == outbox.Published || row.State == outbox.Dead
	switch change.Move {
	case outbox.MarkPublished:
		if !same || row.State != outbox.Pending {
			return false
		}
		row.State, row.Sequence, row.PublishedAt = outbox.Published, change.Sequence, now
		k.reason = ""
	case outbox.MarkFailed:
		if !same || row.State != outbox.Pending {
			return false
		}
		row.Attempts++
		k.reason = reason
	case outbox.Postpone, outbox.AskNow:
		if !sent || !same && change.Move == outbox.Postpone {
			return false
		}
	case outbox.Resend:
		if !sent || !same {
			return false
		}
		row = outbox.Row{ClaimAccepted: row.ClaimAccepted, State: outbox.Pending}
		row.Gen++
		k.reason = ""
	case outbox.Settle:
		return k.settle(change, dueAt, now)
	case outbox.MarkDead:
		if row.State == outbox.Discarded {
			return false
		}
		row.State, k.reason = outbox.Dead, reason
	case outbox.MarkDiscarded:
		row.State, k.reason, dueAt = outbox.Discarded, reason, k.dueAt
	}
	k.row, k.dueAt = &row, dueAt
	return true
}

// settle replaces the row by a settlement, if payments recorded what it says.
func (k *kept) settle(change *outbox.Change, dueAt, now time.Time) bool {
	if k.row.NetFee != change.Paid.NetFee {
		row := *k.row
		row.State = outbox.Dead
		k.row, k.dueAt, k.reason = &row, dueAt, outbox.ReasonAmount
		return false
	}
	k.settlement = store.Payment{
		State: store.PaymentPaid, Gen: k.row.Gen, PaymentID: change.Paid.PaymentID,
		RecordedAt: micros(change.Paid.RecordedAt), SettledAt: now,
	}
	k.row = nil
	return true
}

// clip cuts a reason to what is kept, between two characters.
func clip(reason string) string {
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	for len(reason) > outbox.MaxReasonBytes {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	return reason
}

// Backlog implements outbox.Rows.
func (d *claimsDatabase) Backlog(context.Context) (backlog outbox.Backlog, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.claims {
		if k.row == nil {
			continue
		}
		switch k.row.State {
		case outbox.Dead:
			backlog.Dead++
			continue
		case outbox.Discarded:
			backlog.Discarded++
			continue
		case outbox.Published:
			backlog.Published++
		case outbox.Pending:
			backlog.Pending++
			if k.row.Attempts > 0 {
				backlog.Failed++
			}
		}
		if backlog.Oldest.IsZero() || k.row.AcceptedAt.Before(backlog.Oldest) {
			backlog.Oldest = k.row.AcceptedAt
		}
	}
	return backlog, nil
}

// IdentitySecret implements store.Engine.
func (d *claimsDatabase) IdentitySecret(context.Context) ([claim.IdentitySecretSize]byte, error) {
	return d.secret, nil
}

// payment gives what is known of the claim's payment.
func (k *kept) payment() store.Payment {
	if k.row == nil {
		return k.settlement
	}
	found := store.Payment{
		State: store.PaymentStateOf(k.row.State, k.row.Attempts), Gen: k.row.Gen, Attempts: k.row.Attempts, Error: k.reason,
	}
	if k.row.State == outbox.Pending {
		found.NextAttemptAt = k.dueAt
	}
	return found
}

func (k *kept) summary() store.Summary {
	return store.Summary{
		Cursor: k.cursor, ClaimID: k.ID, Version: k.Version, ExternalID: k.ExternalID, LineCount: len(k.Lines),
		NetFee: k.NetFee(), ExpectedPlanPayment: k.ExpectedPlanPayment(), ReceivedAt: k.receivedAt, Payment: k.payment(),
	}
}

// Claim implements store.Engine.
func (d *claimsDatabase) Claim(_ context.Context, id uuid.UUID) (store.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.byID[id]
	if k == nil {
		return store.Record{}, fmt.Errorf("read claim %s: %w", id, store.ErrNotFound)
	}
	warnings := slices.Clone(k.Warnings)
	for i := range warnings {
		warnings[i].Found = claim.Raw{}
	}
	return store.Record{Summary: k.summary(), Key: k.Key, FirstLineID: k.firstLine, Lines: slices.Clone(k.Lines), Warnings: warnings}, nil
}

// Claims implements store.Engine.
func (d *claimsDatabase) Claims(_ context.Context, filter store.Filter) ([]store.Summary, error) {
	known := slices.Contains([]store.Status{"", store.InFlight, store.Settled, store.DeadLettered}, filter.Status) &&
		slices.Contains([]store.PaymentState{
			"", store.PaymentPending, store.PaymentFailed, store.PaymentNotified,
			store.PaymentPaid, store.PaymentDeadLettered, store.PaymentDiscarded,
		}, filter.PaymentState)
	if filter.Limit < 1 || filter.Limit > store.MaxPage || !known {
		return nil, errors.New("list claims: the filter is out of bounds")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var page []store.Summary
	for _, k := range slices.Backward(d.claims) {
		if len(page) < filter.Limit && k.selected(&filter) {
			page = append(page, k.summary())
		}
	}
	return page, nil
}

func (k *kept) selected(filter *store.Filter) bool {
	state := k.payment().State
	return (filter.Before == 0 || k.cursor < filter.Before) &&
		(filter.From.IsZero() || !k.receivedAt.Before(filter.From)) &&
		(filter.To.IsZero() || k.receivedAt.Before(filter.To)) &&
		(filter.Status == "" || state.Status() == filter.Status) &&
		(filter.PaymentState == "" || state == filter.PaymentState) &&
		(!filter.HasNPI || slices.ContainsFunc(k.Lines, func(line claim.Line) bool { return line.ProviderNPI == filter.ProviderNPI }))
}

// TopProviders implements store.Engine.
func (d *claimsDatabase) TopProviders(ctx context.Context, limit int) ([]store.ProviderTotal, error) {
	snapshot, err := d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return snapshot.Top(ctx, limit)
}

// Ping implements store.Engine.
func (d *claimsDatabase) Ping(ctx context.Context) error { return ctx.Err() }

// Close implements store.Engine.
func (d *claimsDatabase) Close() error { return nil }

// Snapshot implements store.Engine.
func (d *claimsDatabase) Snapshot(context.Context) (store.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	moment := &claimsMoment{rows: map[store.Table]int64{}}
	for _, k := range d.claims {
		audited := store.Audited{
			Key: event.Key{ClaimID: k.ID, Version: k.Version}, Identity: k.Key, NetFee: k.NetFee(), LineCount: len(k.Lines),
			PlanPayment: k.ExpectedPlanPayment(), PlanOfLines: k.ExpectedPlanPayment(),
			Shares: k.Shares(), Listed: k.Shares(), Settled: k.row == nil, PaymentID: k.settlement.PaymentID,
		}
		for i := range audited.Listed {
			audited.Listed[i].Lines = 0
		}
		if k.row != nil {
			audited.InOutbox, audited.OutboxNetFee = k.row.State, k.row.NetFee
			audited.OutboxPostings = new(store.EncodePostings(k.row.Postings))
			moment.rows[store.Outbox]++
		} else {
			moment.rows[store.Settlements]++
		}
		moment.rows[store.Lines] += int64(len(k.Lines))
		moment.rows[store.ClaimProviders] += int64(len(audited.Listed))
		moment.claims = append(moment.claims, audited)
	}
	slices.SortFunc(moment.claims, func(a, b store.Audited) int { return bytes.Compare(a.ClaimID[:], b.ClaimID[:]) })
	moment.totals = slices.SortedFunc(maps.Values(d.totals), func(a, b store.ProviderTotal) int {
		return cmp.Compare(a.ProviderNPI, b.ProviderNPI)
	})
	return moment, nil
}

// claimsMoment is a claims database at one moment.
type claimsMoment struct {
	rows   map[store.Table]int64
	claims []store.Audited
	totals []store.ProviderTotal
}

// Claims implements store.Snapshot.
func (m *claimsMoment) Claims(context.Context) iter.Seq2[store.Audited, error] { return each(m.claims) }

// Rows implements store.Snapshot.
func (m *claimsMoment) Rows(_ context.Context, table store.Table) (int64, error) {
	if !slices.Contains([]store.Table{store.Outbox, store.Settlements, store.Lines, store.ClaimProviders}, table) {
		return 0, fmt.Errorf("no table %q", table)
	}
	return m.rows[table], nil
}

// Strays implements store.Snapshot. Nothing can be of a claim that is not there.
func (m *claimsMoment) Strays(context.Context, store.Table) iter.Seq2[store.Stray, error] {
	return each([]store.Stray(nil))
}

// Totals implements store.Snapshot.
func (m *claimsMoment) Totals(context.Context) iter.Seq2[store.ProviderTotal, error] {
	return each(m.totals)
}

// Imports implements store.Snapshot.
func (m *claimsMoment) Imports(context.Context) iter.Seq2[store.Import, error] {
	return each([]store.Import(nil))
}

// Top implements store.Snapshot.
func (m *claimsMoment) Top(_ context.Context, limit int) ([]store.ProviderTotal, error) {
	if limit < 1 || limit > store.MaxTop {
		return nil, fmt.Errorf("rank %d providers: want 1 to %d", limit, store.MaxTop)
	}
	ranked := slices.Clone(m.totals)
	slices.SortStableFunc(ranked, func(a, b store.ProviderTotal) int { return cmp.Compare(b.TotalNetFee, a.TotalNetFee) })
	return ranked[:min(limit, len(ranked))], nil
}

// Close implements store.Snapshot.
func (m *claimsMoment) Close() error { return nil }

// each gives the things as a sequence that never fails.
func each[T any](things []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, thing := range things {
			if !yield(thing, nil) {
				return
			}
		}
	}
}
