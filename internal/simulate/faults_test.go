package simulate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// fault is what goes wrong in a run. It counts where somebody has met it, and not where it was
// drawn: a database that is dead while nobody calls it shows nothing.
type fault string

// What goes wrong with a step, which is a call of a database or of the broker: "accept: database dead".
const (
	died      = ": process died before"
	diedAfter = ": process died after, and told nobody"
	dead      = ": database dead"
	fails     = ": fails"
	slow      = ": slow"
	late      = ": given up by its caller, before it was done"
	lateAfter = ": given up by its caller, and done"
	doubt     = ": in doubt, and done"
	doubtThen = ": in doubt, and done later"
	locked    = ": waits for a commit in doubt"
	outage    = ": broker away"
	unheard   = ": lost"
)

// What becomes of messages, and of those who handle them.
const (
	refound       fault = "a claim in doubt was inserted again, and found"
	lostByBroker  fault = "message acknowledged by the broker, and lost: sent again"
	wiped         fault = "message in a broker that was wiped: sent again"
	cutOff        fault = "message at the end of a stream that was cut: sent again"
	passedOver    fault = "message passed over by a consumer ahead of its stream: sent again"
	begunAgain    fault = "message passed over by a consumer ahead of its stream: delivered when it began again"
	swallowed     fault = "message sent twice: the broker dropped one"
	copied        fault = "message stored twice: both delivered"
	redelivered   fault = "message answered: delivered once more"
	replayed      fault = "message answered: delivered again by a replay"
	replayedWhole fault = "all messages answered: delivered again by a replay"
	unanswered    fault = "message whose answer was lost: delivered again"
	garbled       fault = "message garbled: parked"
	tooLarge      fault = "message too large: sent later"
	forgedPaid    fault = "message forged: paid"
	forgedSeen    fault = "message forged and paid: its claim is not settled"
	conflict      fault = "message of a claim that a forged one paid: parked"
	poisonAmong   fault = "poison in a batch with others"
	poisonParked  fault = "poison parked"
	panicParked   fault = "poison that panicked parked"
	poisonPaid    fault = "poison mended, redriven and paid"
	hintLost      fault = "hint lost: settled all the same"
	hintTwice     fault = "hint taken twice"
	hintStale     fault = "hint taken long after"
	resend        fault = "message sent again"
	deadLetter    fault = "dead letter"
	repeat        fault = "repeat of a payment"
	redriven      fault = "redrive"
	writtenOff    fault = "write-off"
	staleCopy     fault = "message of a claim that was written off"
	otherRelay    fault = "two relays: one sent a row that the other's process had accepted, and lives"
	twoRelays     fault = "two relays: both sent a row"
	heir          fault = "row of a dead process: sent by another"
	twoConsumers  fault = "two consumers: a message of one came to the other"
)

// Jumps of the clock of a machine, as one of its parts reads it: "relay: clock jumped ahead".
const (
	ahead  = ": clock jumped ahead"
	behind = ": clock jumped back"
)

// seedsForAll is the number of runs from which on every fault must be met in some of them.
const seedsForAll = defaultSeeds

// faults lists all that must be met.
func faults() []fault {
	list := []fault{
		refound, lostByBroker, wiped, cutOff, passedOver, begunAgain, swallowed, copied, redelivered, replayed, replayedWhole,
		unanswered, garbled, tooLarge, forgedPaid, forgedSeen, conflict, poisonAmong, poisonParked, panicParked, poisonPaid,
		hintLost, hintTwice, hintStale, resend, deadLetter, repeat, redriven, writtenOff, staleCopy,
		otherRelay, twoRelays, heir, twoConsumers,
	}
	each := func(steps []string, kinds ...string) {
		for _, step := range steps {
			for _, kind := range kinds {
				list = append(list, fault(step+kind))
			}
		}
	}
	each([]string{"accept", "apply", "record", "park", "redrive", "discard"}, died, diedAfter, dead, fails, slow, doubt, doubtThen, locked)
	each([]string{"fail"}, died, diedAfter, fails, slow, doubt, doubtThen, locked)
	each([]string{"due", "standings", "record poison"}, died, dead, fails, slow)
	each([]string{"claim"}, dead, fails, slow) // which a client reads, and can not die of
	each([]string{"claims database", "payments database"}, late)
	each([]string{"claims database"}, lateAfter)
	each([]string{"publish", "progress", "ask", "answer", "fetch", "hint"}, died)
	each([]string{"publish", "progress", "ask", "answer", "fetch"}, fails)
	each([]string{"ack", "nak", "term"}, died, unheard)
	each([]string{"publish", "progress", "fetch", "hint", "ack", "nak"}, outage)
	each([]string{"committer", "relay", "sweep", "consumer"}, ahead, behind)
	return list
}

// tally counts the runs that met a fault.
type tally struct {
	mu   sync.Mutex
	runs map[fault]int
}

func (t *tally) add(w *world) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.runs == nil {
		t.runs = map[fault]int{}
	}
	for what := range w.met {
		t.runs[what]++
	}
}

// String gives a line for each fault that was met.
func (t *tally) String() string {
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(t.runs)) {
		fmt.Fprintf(&text, "%8d  %s\n", t.runs[what], what)
	}
	return text.String()
}

// missing gives the faults that no run met.
func (t *tally) missing() []fault {
	return slices.DeleteFunc(faults(), func(what fault) bool { return t.runs[what] > 0 })
}

// meet counts a fault where somebody met it.
func (w *world) meet(what fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.met[what]++
}

// meetAt counts a fault of a step.
func (w *world) meetAt(step, kind string) {
	if !w.isOver {
		w.meet(fault(step + kind))
	}
}

// marks is what has gone wrong already, and has yet to be met. Nothing but the counting of faults looks
// at it, so no run depends on it.
type marks struct {
	doubted  map[uuid.UUID]bool     // the acceptance of the claim was in doubt
	by       map[uuid.UUID]*process // that accepted the claim
	lost     map[string]fault       // message ids, by what the broker lost them
	tooLarge map[event.Key]bool
	poisoned map[event.Key]bool // parked as poison
	unhinted map[event.Key]bool // the last hint about it was lost
}

func newMarks() marks {
	return marks{
		doubted: map[uuid.UUID]bool{}, by: map[uuid.UUID]*process{}, lost: map[string]fault{}, tooLarge: map[event.Key]bool{},
		poisoned: map[event.Key]bool{}, unhinted: map[event.Key]bool{},
	}
}

// clock gives one part of the machine its clock, and counts the jumps that the part has seen.
func (m *machine) clock(part string) func() time.Time {
	const jump = time.Second // less is not worth the name
	off, isFirst := time.Duration(0), true
	return func() time.Time {
		at := m.now()
		now := time.Until(at)
		m.mu.Lock()
		before := off
		if isFirst {
			before, isFirst = now, false
		}
		off = now
		m.mu.Unlock()
		switch {
		case now-before >= jump:
			m.meetAt(part, ahead)
		case before-now >= jump:
			m.meetAt(part, behind)
		}
		return at
	}
}

// accepted counts what an acceptance met.
func (w *world) accepted(a *actor, batch []store.Submission, outcomes []store.Outcome) {
	for i := range outcomes {
		switch id := batch[i].Claim.ID; {
		case outcomes[i].Err != nil:
		case !outcomes[i].Existing:
			w.by[id] = a.process
		case w.doubted[id]:
			w.meet(refound)
			delete(w.doubted, id)
		}
	}
}

// sending counts what a message met that the broker is about to take.
func (s *stream) sending(a *actor, message *event.ClaimAccepted) {
	if by := s.by[message.ClaimID]; by != nil && by.machine != a.process.machine {
		s.meet(map[bool]fault{true: heir, false: otherRelay}[s.isDead(by)])
	}
	if before, found := s.recent[message.MessageID()]; found && before.by != nil && before.by != a.process && !s.isDead(before.by) {
		s.meet(twoRelays)
	}
	if s.tooLarge[message.Key] {
		s.meet(tooLarge)
		delete(s.tooLarge, message.Key)
	}
}

// delivering counts what a message met that a consumer is about to get.
func (s *stream) delivering(a *actor, e *entry) {
	if e.again != "" {
		s.meet(e.again)
		if e.again == replayed && !slices.ContainsFunc(s.entries, func(other *entry) bool { return other != e && other.again == replayed }) {
			s.meet(replayedWhole)
		}
		e.again = ""
	}
	if e.isCopy && e.deliveries == 1 {
		s.meet(copied)
	}
	if e.by != nil && e.by != a.process && !s.isDead(e.by) {
		s.meet(twoConsumers)
	}
	e.by = a.process
}

// lose notes that the broker loses a message that nobody has answered.
func (s *stream) lose(e *entry, how fault) {
	if !e.answered {
		s.lost[e.id] = how
	}
}

// generations gives the generation of each row that is to be sent again.
func (l claimsLink) generations(changes []outbox.Change) map[event.Key]int {
	found := map[event.Key]int{}
	for i := range changes {
		if k := l.claims.byID[changes[i].ClaimID]; changes[i].Move == outbox.Resend && k != nil && k.row != nil {
			found[changes[i].Key] = k.row.Gen
		}
	}
	return found
}

// resent counts what the messages met that are sent again from now on.
func (l claimsLink) resent(before map[event.Key]int) {
	for key, gen := range before {
		if k := l.claims.byID[key.ClaimID]; k.row == nil || k.row.Gen == gen {
			continue
		}
		l.meet(resend)
		if how := l.lost[(event.Ref{Key: key, Gen: gen}).MessageID()]; how != "" {
			l.meet(how)
		}
	}
}

// recorded counts what messages met that payments has decided on.
func (l ledgerLink) recorded(batch []event.ClaimAccepted, verdicts []payment.Verdict) {
	for i, verdict := range verdicts {
		switch verdict {
		case payment.Repeat:
			l.meet(repeat)
		case payment.WrittenOff:
			l.meet(staleCopy)
		case payment.Conflict:
		case payment.Recorded:
			if l.poisoned[batch[i].Key] {
				l.meet(poisonPaid)
			}
			if batch[i].NetFee != l.claims.byID[batch[i].ClaimID].NetFee() {
				l.meet(forgedPaid)
			}
		}
	}
}

// parking counts what a message met that is parked for the first time, and says whether there is a
// reason for it.
func (l ledgerLink) parking(letter *payment.DeadLetter) (isRight bool) {
	l.meet(deadLetter)
	switch poison, _ := l.drawnPoison(letter.Key); {
	case letter.Reason == payment.ReasonMalformed:
		_, err := event.Unmarshal(letter.Body)
		l.meet(garbled)
		return err != nil
	case letter.Reason == payment.ReasonConflict:
		l.meet(conflict)
		return l.forged[letter.Key]
	case poison && strings.Contains(letter.Error, "panic: "):
		l.meet(panicParked)
	case poison:
		l.meet(poisonParked)
	default:
		return false
	}
	l.poisoned[letter.Key] = true
	return true
}

// hearing counts what a hint met that claim-process takes.
func (s *stream) hearing(h *hint) {
	if *h.taken++; *h.taken > 1 {
		s.meet(hintTwice)
	}
	if time.Since(h.sentAt) > maxHintDelay+slowCall {
		s.meet(hintStale)
	}
	for _, standing := range h.answer.Standings {
		delete(s.unhinted, standing.Key)
	}
}
