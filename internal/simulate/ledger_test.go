package simulate_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// ledger is a payments database in memory: ledgertest holds it to the contract of the
// engines.
type ledger struct {
	mu         sync.Mutex
	payments   []recorded // in the order of recording
	paid       map[event.Key]int
	tombstones map[event.Key]payment.Decision
	letters    []payment.DeadLetter // ascending by id
	log        []payment.Entry
	failures   map[string]int
}

// recorded is a payment and the hash of what it was made from.
type recorded struct {
	payment.Payment
	hash [sha256.Size]byte
}

var _ payment.Ledger = (*ledger)(nil)

func newLedger() *ledger {
	return &ledger{paid: map[event.Key]int{}, tombstones: map[event.Key]payment.Decision{}, failures: map[string]int{}}
}

// Record implements payment.Ledger.
func (l *ledger) Record(_ context.Context, batch []event.ClaimAccepted, now time.Time) ([]payment.Verdict, error) {
	if len(batch) > payment.MaxBatch {
		return nil, fmt.Errorf("record %d payments: %d at most", len(batch), payment.MaxBatch)
	}
	for i := range batch {
		for j := 1; j < len(batch[i].Postings); j++ {
			if batch[i].Postings[j].ProviderNPI == batch[i].Postings[j-1].ProviderNPI {
				return nil, fmt.Errorf("record payment of claim %s: a provider stands in it twice", batch[i].Key)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var verdicts []payment.Verdict
	for i := range batch {
		verdicts = append(verdicts, l.record(&batch[i], micros(now)))
	}
	return verdicts, nil
}

func (l *ledger) record(message *event.ClaimAccepted, now time.Time) payment.Verdict {
	hash := message.Hash()
	if at, found := l.paid[message.Key]; found {
		if l.payments[at].hash == hash {
			return payment.Repeat
		}
		return payment.Conflict
	}
	if _, written := l.tombstones[message.Key]; written {
		return payment.WrittenOff
	}
	l.paid[message.Key] = len(l.payments)
	l.payments = append(l.payments, recorded{payment.Payment{
		Cursor: int64(len(l.payments) + 1), Key: message.Key, ID: payment.ID(message.Key), NetFee: message.NetFee,
		Postings: message.Postings, RecordedAt: now,
	}, hash})
	l.close(payment.LetterPaid, payment.Decision{Actor: "payments", Reason: "a copy of the message was recorded", At: now},
		func(letter *payment.DeadLetter) bool { return letter.Key == message.Key })
	return payment.Recorded
}

// close closes the open letters that are selected, and notes it.
func (l *ledger) close(state payment.LetterState, decision payment.Decision, selected func(*payment.DeadLetter) bool) {
	decision = noted(decision)
	for i := range l.letters {
		letter := &l.letters[i]
		if letter.State == payment.LetterOpen && selected(letter) {
			letter.State, letter.Closing = state, decision
			l.log = append(l.log, payment.Entry{LetterID: letter.ID, Action: payment.Action(state), Decision: decision})
		}
	}
}

// noted gives a decision as it is kept.
func noted(decision payment.Decision) payment.Decision {
	return payment.Decision{
		Actor: payment.Note(decision.Actor), Reason: payment.Note(decision.Reason), At: micros(decision.At),
	}
}

// Fail implements payment.Ledger.
func (l *ledger) Fail(_ context.Context, messageID string, _ time.Time) (attempts int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[messageID]++
	return l.failures[messageID], nil
}

// Park implements payment.Ledger.
func (l *ledger) Park(_ context.Context, letter payment.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failures, letter.MessageID)
	if l.parked(letter.MessageID) {
		return nil
	}
	letter.ID, letter.State, letter.Closing = int64(len(l.letters)+1), payment.LetterOpen, payment.Decision{}
	letter.Error, letter.ParkedAt = payment.Note(letter.Error), micros(letter.ParkedAt)
	letter.Body, letter.Providers = append([]byte{}, letter.Body...), slices.Clone(letter.Providers)
	l.letters = append(l.letters, letter)
	l.log = append(l.log, payment.Entry{
		LetterID: letter.ID, Action: payment.ActionParked,
		Decision: payment.Decision{Actor: "payments", Reason: letter.Error, At: letter.ParkedAt},
	})
	return nil
}

// parked tells whether a message has a letter, open or closed.
func (l *ledger) parked(messageID string) bool {
	return slices.ContainsFunc(l.letters, func(letter payment.DeadLetter) bool { return letter.MessageID == messageID })
}

// Standings implements payment.Ledger.
func (l *ledger) Standings(_ context.Context, keys []event.Key) ([]event.Standing, error) {
	if len(keys) > event.MaxAsked {
		return nil, fmt.Errorf("read standing of %d claims: %d at most", len(keys), event.MaxAsked)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var standings []event.Standing
	for _, key := range keys {
		standings = append(standings, l.standing(key))
	}
	return standings, nil
}

func (l *ledger) standing(key event.Key) event.Standing {
	if at, found := l.paid[key]; found {
		paid := l.payments[at]
		return event.Standing{Key: key, State: event.Paid, PaymentID: paid.ID, NetFee: paid.NetFee, RecordedAt: paid.RecordedAt}
	}
	if decision, found := l.tombstones[key]; found {
		return event.Standing{Key: key, State: event.Discarded, Reason: decision.Reason}
	}
	for _, letter := range slices.Backward(l.letters) {
		if letter.State == payment.LetterOpen && letter.Key == key {
			return event.Standing{Key: key, State: event.Dead, Reason: string(letter.Reason)}
		}
	}
	return event.Standing{Key: key, State: event.Unknown}
}

// Payment implements payment.Ledger.
func (l *ledger) Payment(_ context.Context, claimID uuid.UUID) (payment.Payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found payment.Payment
	for i := range l.payments {
		if one := l.payments[i].Payment; one.ClaimID == claimID && one.Version > found.Version {
			found = one
		}
	}
	if found.Version == 0 {
		return found, fmt.Errorf("read payment of claim %s: %w", claimID, payment.ErrNotFound)
	}
	found.Cursor = 0
	return found, nil
}

// Payments implements payment.Ledger.
func (l *ledger) Payments(_ context.Context, filter payment.PaymentFilter) ([]payment.Payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var page []payment.Payment
	for i := len(l.payments) - 1; i >= 0 && len(page) < pageSize(filter.Limit); i-- {
		paid := l.payments[i].Payment
		if (filter.Before == 0 || paid.Cursor < filter.Before) && within(paid.RecordedAt, filter.From, filter.To) &&
			(filter.ProviderNPI == "" || slices.ContainsFunc(paid.Postings, func(posting event.Posting) bool {
				return posting.ProviderNPI == filter.ProviderNPI
			})) {
			page = append(page, paid)
		}
	}
	return page, nil
}

// pageSize gives the limit of a page; one out of its range is taken for the largest.
func pageSize(limit int) int {
	if limit < 1 || limit > payment.MaxPage {
		return payment.MaxPage
	}
	return limit
}

func within(at, from, to time.Time) bool {
	return (from.IsZero() || !at.Before(from)) && (to.IsZero() || at.Before(to))
}

// DeadLetters implements payment.Ledger.
func (l *ledger) DeadLetters(_ context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var page []payment.DeadLetter
	for _, letter := range slices.Backward(l.letters) {
		if len(page) < pageSize(filter.Limit) && (filter.Before == 0 || letter.ID < filter.Before) &&
			within(letter.ParkedAt, filter.From, filter.To) &&
			(filter.State == "" || letter.State == filter.State) && (filter.Reason == "" || letter.Reason == filter.Reason) &&
			(filter.ProviderNPI == "" || slices.Contains(letter.Providers, filter.ProviderNPI)) {
			page = append(page, letter)
		}
	}
	return page, nil
}

// Letter implements payment.Ledger.
func (l *ledger) Letter(_ context.Context, id int64) (payment.DeadLetter, []payment.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	letter, err := l.letter(id)
	if err != nil {
		return payment.DeadLetter{}, nil, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	var entries []payment.Entry
	for _, entry := range l.log {
		other := l.letters[entry.LetterID-1]
		if other.ID == id || letter.ClaimID != uuid.Nil && other.Key == letter.Key {
			entries = append(entries, entry)
		}
	}
	return letter, entries[max(0, len(entries)-payment.MaxHistory):], nil
}

func (l *ledger) letter(id int64) (payment.DeadLetter, error) {
	if id < 1 || id > int64(len(l.letters)) {
		return payment.DeadLetter{}, payment.ErrNotFound
	}
	return l.letters[id-1], nil
}

// Redrive implements payment.Ledger.
func (l *ledger) Redrive(_ context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(id, payment.LetterRedriven, decision, func(letter *payment.DeadLetter) error {
		if letter.ClaimID == uuid.Nil {
			return payment.ErrNoClaim
		}
		if _, paid := l.paid[letter.Key]; paid {
			return payment.ErrPaid
		}
		return nil
	})
}

// Discard implements payment.Ledger.
func (l *ledger) Discard(_ context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(id, payment.LetterDiscarded, decision, func(letter *payment.DeadLetter) error {
		if _, paid := l.paid[letter.Key]; letter.ClaimID != uuid.Nil && !paid {
			if _, there := l.tombstones[letter.Key]; !there {
				l.tombstones[letter.Key] = noted(decision)
			}
		}
		return nil
	})
}

// decide closes a letter, and the others that are open for the same claim, after also
// did its part.
func (l *ledger) decide(id int64, state payment.LetterState, decision payment.Decision, also func(*payment.DeadLetter) error) (payment.DeadLetter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	letter, err := l.letter(id)
	if err == nil && letter.State != payment.LetterOpen {
		err = payment.ErrClosed
	}
	if err == nil {
		err = also(&letter)
	}
	if err != nil {
		return payment.DeadLetter{}, fmt.Errorf("decide on dead letter %d: %w", id, err)
	}
	l.close(state, decision, func(other *payment.DeadLetter) bool {
		return other.ID == id || letter.ClaimID != uuid.Nil && other.Key == letter.Key
	})
	return l.letters[id-1], nil
}

// OpenDeadLetters implements payment.Ledger.
func (l *ledger) OpenDeadLetters(context.Context) (count int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, letter := range l.letters {
		if letter.State == payment.LetterOpen {
			count++
		}
	}
	return count, nil
}

// Ping implements payment.Ledger.
func (l *ledger) Ping(ctx context.Context) error { return ctx.Err() }

// Close implements payment.Ledger.
func (l *ledger) Close() error { return nil }

// Snapshot implements payment.Ledger.
func (l *ledger) Snapshot(context.Context) (payment.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	moment := &ledgerMoment{}
	for i := range l.payments {
		paid := l.payments[i].Payment
		paid.Cursor = 0
		moment.payments = append(moment.payments, paid)
	}
	slices.SortFunc(moment.payments, func(a, b payment.Payment) int { return byKey(a.Key, b.Key) })
	parked := map[event.Key]payment.Parked{}
	for _, letter := range l.letters {
		if letter.State == payment.LetterOpen && letter.ClaimID != uuid.Nil {
			parked[letter.Key] = payment.Parked{Key: letter.Key}
		}
	}
	for key := range l.tombstones {
		parked[key] = payment.Parked{Key: key, WrittenOff: true}
	}
	moment.parked = slices.SortedFunc(maps.Values(parked), func(a, b payment.Parked) int { return byKey(a.Key, b.Key) })
	return moment, nil
}

func byKey(a, b event.Key) int {
	return cmp.Or(bytes.Compare(a.ClaimID[:], b.ClaimID[:]), cmp.Compare(a.Version, b.Version))
}

// ledgerMoment is a ledger at one moment.
type ledgerMoment struct {
	payments []payment.Payment
	parked   []payment.Parked
}

// Payments implements payment.Snapshot.
func (m *ledgerMoment) Payments(context.Context) iter.Seq2[payment.Payment, error] {
	return each(m.payments)
}

// Parked implements payment.Snapshot.
func (m *ledgerMoment) Parked(context.Context) iter.Seq2[payment.Parked, error] {
	return each(m.parked)
}

// Strays implements payment.Snapshot.
func (m *ledgerMoment) Strays(context.Context) iter.Seq2[payment.Stray, error] {
	return each([]payment.Stray(nil))
}

// Close implements payment.Snapshot.
func (m *ledgerMoment) Close() error { return nil }

// errPoison is what a ledger says of a message that it can not record.
var errPoison = errors.New("the ledger can not record this message")
