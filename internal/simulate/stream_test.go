package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
)

// What the broker promises, and the consumer is set up with.
const (
	ackWait         = 15 * time.Second // longer than payment.RoundTimeout
	duplicateWindow = time.Minute
	maxHintDelay    = 2 * time.Second
	staleHintDelay  = time.Minute
)

var (
	errBroker     = errors.New("broker is away")
	errNobody     = errors.New("no payments instance answers")
	errNoAnswer   = errors.New("no answer came")
	errNoAck      = errors.New("no ack came")
	errNotTheirs  = errors.New("an answer was not taken")
	errTooLarge   = fmt.Errorf("%w: too large", outbox.ErrUnsendable)
	errEndOfFetch = errors.New("the fetch has ended")
)

// stream is the broker in memory: one stream with one consumer, which delivers every
// message until it is answered, and the plain messages between the two services. Its
// promises are those of package broker, and no more: what it acknowledged it may lose.
type stream struct {
	*world
	entries   []*entry // ascending by sequence; what is lost is not there
	last      uint64
	delivered uint64                     // as far as the consumer has delivered; what comes in up to there it passes over
	ahead     map[*process]*broker.Ahead // of each that looks how far the consumer is
	recent    map[string]sent            // the duplicate window, by message id
	hints     []hint
	awayUntil time.Time
	changed   chan struct{} // closed and made anew when something came in
}

// entry is one message of the stream.
type entry struct {
	sequence   uint64
	id         string
	body       []byte
	deliveries int
	dueAt      time.Time // zero: at once
	answered   bool
	again      fault    // why it is delivered again
	isCopy     bool     // of another that is there
	by         *process // that it was delivered to
}

// sent is a message id in the duplicate window.
type sent struct {
	at       time.Time
	sequence uint64
	by       *process // that sent it; nil: none of ours
}

// hint is a plain message on its way to claim-process.
type hint struct {
	dueAt  time.Time
	answer event.Answer
	sentAt time.Time
	taken  *int // how often it was, and its copy
}

func newStream(w *world) *stream {
	return &stream{world: w, ahead: map[*process]*broker.Ahead{}, recent: map[string]sent{}, changed: make(chan struct{})}
}

// wake lets those look who wait for messages or hints.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits until something came in, or is due.
func (s *stream) wait(ctx context.Context, a *actor, changed <-chan struct{}, dueAt time.Time) {
	a.turns.Add(1)
	var due <-chan time.Time
	if !dueAt.IsZero() {
		timer := time.NewTimer(time.Until(dueAt))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-due:
	}
	a.pause(ctx, 0)
}

func (s *stream) isAway() bool { return time.Now().Before(s.awayUntil) }

// Publish implements outbox.Line. Between any two messages the process may die.
func (s *stream) Publish(ctx context.Context, messages []event.ClaimAccepted) []event.Published {
	a := actorOf(ctx)
	results := make([]event.Published, len(messages))
	for i := range messages {
		results[i].Ref = messages[i].Ref
		a.pause(ctx, a.upTo(500*time.Microsecond))
		switch {
		case a.isGone("publish"):
			a.meetAt("publish", died)
			results[i].Err = errGone
		case ctx.Err() != nil:
			results[i].Err = ctx.Err()
		case s.isAway():
			a.meetAt("publish", outage)
			results[i].Err = errBroker
		default:
			s.take(a, &messages[i], &results[i])
		}
	}
	a.pause(ctx, a.upTo(2*time.Millisecond))
	return results
}

// take stores a message, unless something goes wrong.
func (s *stream) take(a *actor, message *event.ClaimAccepted, result *event.Published) {
	body, err := message.Marshal()
	if err != nil {
		result.Err = err
		return
	}
	s.sending(a, message)
	id, fate := message.MessageID(), -1
	switch focus := a.knobs.focus; {
	case a.failing("publish"):
		fate = a.random.IntN(5)
	case (focus == "park" || focus == "term") && !a.isCalm() && a.chance(focused):
		fate = 2 // what can not be read is parked at once
	}
	switch fate {
	case 0:
		a.tell("publish fails", 0)
		a.meetAt("publish", fails)
		result.Err = errBroker
		return
	case 1:
		a.tell("publish: acknowledged, and lost", 0)
		s.last++
		s.recent[id] = sent{time.Now(), s.last, a.process}
		s.lost[id] = lostByBroker
		result.Sequence = s.last
		return
	case 2:
		body = body[:a.random.IntN(len(body))]
	case 3:
		if a.chance(100) {
			s.unsent, s.tooLarge[message.Key] = true, true
			result.Err = errTooLarge
			a.tell("publish: too large", 0)
			return
		}
	}
	if before, found := s.recent[id]; found && time.Since(before.at) < duplicateWindow {
		result.Sequence, result.Duplicate = before.sequence, true
		s.meet(swallowed)
	} else {
		result.Sequence = s.append(a, id, body).sequence
	}
	a.tell("publish "+id, int(result.Sequence))
	if fate == 4 {
		result.Err = errNoAck
	}
}

func (s *stream) append(a *actor, id string, body []byte) *entry {
	s.last++
	s.recent[id] = sent{time.Now(), s.last, a.process}
	e := &entry{sequence: s.last, id: id, body: body, answered: s.last <= s.delivered}
	if e.answered {
		s.lost[id] = passedOver
	}
	s.entries = append(s.entries, e)
	s.wake()
	return e
}

// Progress implements outbox.Line, as package broker does: it is what notices a consumer that is ahead
// of its stream, and makes it anew.
func (s *stream) Progress(ctx context.Context) (floor, last uint64, err error) {
	a := actorOf(ctx)
	a.pause(ctx, a.upTo(time.Millisecond))
	if err := s.unreached(ctx, a, "progress"); err != nil {
		return 0, 0, err
	}
	floor, last = s.last, s.last
	for _, e := range slices.Backward(s.entries) {
		if !e.answered {
			floor = e.sequence - 1
		}
	}
	if s.delivered > s.last {
		floor = 0
	}
	if s.ahead[a.process] == nil {
		s.ahead[a.process] = &broker.Ahead{}
	}
	if s.ahead[a.process].See(s.delivered, s.last, time.Now()) {
		a.tell("the consumer begins again", int(s.delivered))
		s.replay(begunAgain)
	}
	a.tell("progress", int(floor))
	return floor, last, nil
}

// unreached says why a call does not get to the broker.
func (s *stream) unreached(ctx context.Context, a *actor, what string) error {
	defer a.turns.Add(1)
	switch {
	case a.isGone(what):
		a.meetAt(what, died)
		return errGone
	case ctx.Err() != nil:
		return ctx.Err()
	case s.isAway():
		a.meetAt(what, outage)
		return errBroker
	case a.failing(what):
		a.meetAt(what, fails)
		return errBroker
	}
	return nil
}

// Ask implements outbox.Line: one of the payments instances answers.
func (s *stream) Ask(ctx context.Context, question event.Question) (event.Answer, error) {
	a := actorOf(ctx)
	a.pause(ctx, a.upTo(time.Millisecond))
	if err := s.unreached(ctx, a, "ask"); err != nil {
		return event.Answer{}, err
	}
	p := s.living(a, payments)
	if p == nil {
		return event.Answer{}, errNobody
	}
	there := *a // the same thread, within the other process
	there.process = p
	answer, err := p.desk.Answer(there.in(ctx), question)
	if err != nil {
		return event.Answer{}, err
	}
	a.pause(ctx, a.upTo(time.Millisecond))
	if err := s.unreached(ctx, a, "answer"); err != nil || there.isGone("answer") {
		return event.Answer{}, errors.Join(errNoAnswer, err)
	}
	return answer, nil
}

// Hint implements payment.Hinter. A hint may be lost, come late, or twice.
func (s *stream) Hint(ctx context.Context, answer event.Answer) error {
	a := actorOf(ctx)
	defer a.turns.Add(1)
	a.pause(ctx, a.upTo(time.Millisecond))
	switch {
	case a.isGone("hint"):
		a.meetAt("hint", died)
		return errBroker
	case s.isAway():
		a.meetAt("hint", outage)
		return errBroker
	case ctx.Err() != nil:
		return errBroker
	}
	a.tell("hint", len(answer.Standings))
	answer.Standings = slices.Clone(answer.Standings)
	copies := 1
	if a.failing("hint") {
		copies = 2 * a.random.IntN(2)
	}
	for _, standing := range answer.Standings {
		s.unhinted[standing.Key] = copies == 0
	}
	taken := new(int)
	for range copies {
		delay := a.upTo(maxHintDelay)
		if a.failing("hint") {
			delay = a.upTo(staleHintDelay)
		}
		s.hints = append(s.hints, hint{time.Now().Add(delay), answer, time.Now(), taken})
	}
	s.wake()
	return nil
}

// nextHint waits for a hint, and takes it.
func (s *stream) nextHint(ctx context.Context) (event.Answer, error) {
	a := actorOf(ctx)
	for ctx.Err() == nil && !a.isGone("hear") {
		a.pause(ctx, 0)
		var earliest time.Time
		for i, h := range s.hints {
			if !h.dueAt.After(time.Now()) {
				s.hints = slices.Delete(s.hints, i, i+1)
				s.hearing(&h)
				a.tell("takes a hint", len(h.answer.Standings))
				return h.answer, nil
			}
			earliest = earlier(earliest, h.dueAt)
		}
		s.wait(ctx, a, s.changed, earliest)
	}
	return event.Answer{}, errEndOfFetch
}

// earlier gives the earlier of two times; the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// Fetch implements payment.Feed.
func (s *stream) Fetch(ctx context.Context, limit int) ([]event.Delivery, error) {
	a := actorOf(ctx)
	limit = min(limit, 1+a.random.IntN(8))
	for {
		a.pause(ctx, a.upTo(time.Millisecond))
		if err := s.unreached(ctx, a, "fetch"); err != nil {
			return nil, err
		}
		var deliveries []event.Delivery
		var earliest time.Time
		for _, e := range s.entries {
			switch {
			case e.answered:
			case e.dueAt.After(time.Now()):
				earliest = earlier(earliest, e.dueAt)
			case len(deliveries) < limit:
				deliveries = append(deliveries, s.deliver(a, e))
			}
		}
		if len(deliveries) > 0 {
			return deliveries, nil
		}
		s.wait(ctx, a, s.changed, earliest)
	}
}

func (s *stream) deliver(a *actor, e *entry) event.Delivery {
	e.deliveries++
	s.delivered = max(s.delivered, e.sequence)
	e.dueAt = time.Now().Add(ackWait)
	s.delivering(a, e)
	a.tell("fetch "+e.id, e.deliveries)
	return event.Delivery{MessageID: e.id, Sequence: e.sequence, Attempt: e.deliveries, Body: e.body, Reply: reply{s, a, e}}
}

// reply answers one delivery. An answer may get lost without anybody knowing.
type reply struct {
	stream *stream
	actor  *actor
	entry  *entry
}

// Ack implements event.Reply.
func (r reply) Ack() error {
	return r.answer("ack", func() {
		r.entry.answered = true
		r.stream.mayAck(r.entry)
	})
}

// Nak implements event.Reply.
func (r reply) Nak(delay time.Duration) error {
	return r.answer("nak", func() {
		r.entry.dueAt = time.Now().Add(delay)
		r.stream.wake()
	})
}

// Term implements event.Reply.
func (r reply) Term() error {
	return r.answer("term", func() {
		r.entry.answered = true
		r.stream.mayTerm(r.entry)
	})
}

func (r reply) answer(how string, effect func()) error {
	a := r.actor
	defer a.turns.Add(1)
	a.pause(context.Background(), a.upTo(200*time.Microsecond))
	switch {
	case a.isGone(how):
		a.meetAt(how, died)
		return errGone
	case r.stream.isAway():
		a.meetAt(how, outage)
		return errBroker
	case a.failing(how):
		a.tell(how+" is lost", 0)
		a.meetAt(how, unheard)
		if how != "nak" {
			r.entry.again = unanswered
		}
		return [...]error{nil, errNotTheirs}[a.random.IntN(2)]
	}
	a.tell(how+" "+r.entry.id, 0)
	effect()
	return nil
}

// mayAck checks that what is acknowledged is on record: nobody will send it again.
func (s *stream) mayAck(e *entry) {
	message, err := event.Unmarshal(e.body)
	if err != nil {
		s.breach("message %s is acknowledged, and can not be read: %v", e.id, err)
		return
	}
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if standing := s.ledger.standing(message.Key); standing.State != event.Paid && standing.State != event.Discarded {
		s.breach("message %s is acknowledged, and payments has %s", e.id, standing.State)
	}
}

// mayTerm checks that what is given up at the broker has a dead letter.
func (s *stream) mayTerm(e *entry) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if !s.ledger.parked(e.id) {
		s.breach("message %s is given up, and has no dead letter", e.id)
	}
}

// Misfortunes of the broker.

// wipe makes the stream anew, empty.
func (s *stream) wipe() {
	for _, e := range s.entries {
		s.lose(e, wiped)
	}
	s.entries, s.last, s.delivered, s.recent = nil, 0, 0, map[string]sent{}
}

// cut loses the end of the stream, as a power cut does; new messages take the places. At times the
// consumer loses nothing, and is ahead of what is left, by any number of messages.
func (s *stream) cut(a *actor) {
	if s.last == 0 {
		return
	}
	if a.chance(300) {
		s.last = a.random.Uint64N(s.last)
		if s.delivered > s.last {
			a.tell("the consumer is ahead", int(s.delivered))
		}
	} else {
		s.last -= a.random.Uint64N(min(s.last, 5) + 1)
		s.delivered = min(s.delivered, s.last)
	}
	s.entries = slices.DeleteFunc(s.entries, func(e *entry) bool {
		if e.sequence > s.last {
			delete(s.recent, e.id)
			s.lose(e, cutOff)
		}
		return e.sequence > s.last
	})
}

// replay delivers everything once more: the consumer is made anew.
func (s *stream) replay(why fault) {
	s.delivered = 0
	for _, e := range s.entries {
		if e.answered && (e.deliveries > 0) == (why == replayed) {
			e.again = why
		}
		e.answered, e.dueAt = false, time.Time{}
	}
	s.wake()
}

// repeat stores a message of the stream a second time, or delivers it a second time.
func (s *stream) repeat(a *actor) {
	if len(s.entries) == 0 {
		return
	}
	e := s.entries[a.random.IntN(len(s.entries))]
	if a.chance(500) {
		s.append(a, e.id, e.body).isCopy = e.deliveries > 0
		return
	}
	if e.answered && e.deliveries > 0 {
		e.again = redelivered
	}
	e.answered, e.dueAt = false, time.Time{}
	s.wake()
}

// forge has somebody else write a message of another amount, well-formed.
func (s *stream) forge(a *actor) {
	if len(s.claims.claims) == 0 {
		return
	}
	of := s.claims.claims[a.random.IntN(len(s.claims.claims))]
	if of.row == nil || s.ledger.standing(of.row.Key).State != event.Unknown {
		return
	}
	message := of.row.ClaimAccepted
	message.Postings = slices.Clone(message.Postings)
	message.Postings[0].NetFee++
	message.NetFee++
	body, err := message.Marshal()
	if err != nil {
		panic(err)
	}
	s.forged[message.Key] = true
	s.append(a, "forged."+message.MessageID(), body)
}

var (
	_ outbox.Line    = (*stream)(nil)
	_ payment.Feed   = (*stream)(nil)
	_ payment.Hinter = (*stream)(nil)
)
