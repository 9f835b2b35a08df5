package outbox

import "time"

// pass is one reading of the rows to publish, in their order. It finds what was committed late, and
// what is still there of what is held.
type pass struct {
	began time.Time // zero: the next reading starts one
	at    Place     // up to here it has read
	known Place     // as far as any pass before has read: what they had held lies up to here
	found bool      // where the first row is: it has read once
}

// isThrough tells whether the pass has seen all that was held when it began.
func (p *pass) isThrough() bool { return !p.at.before(p.known) }

// front is where passes begin. In front of it nothing was left when it was read, and a database that may
// not yet forget the rows that were there, because somebody reads an old state of it, would go over all of
// them again for each pass: millions, during a long backup. What is committed there late is found by passes over all
// rows, which are as rare as they are slow.
type front struct {
	place Place
	whole time.Time     // when the last pass over all rows began
	wait  time.Duration // from it to the next

	failures int // before anything was read
}

// timeout bounds one reading. Until there is a place to begin at, each failure gives the next one longer: the rows that
// are gone may be too many to go over in the usual time, and nothing would ever be sent.
func (f *front) timeout() time.Duration {
	if f.place != (Place{}) {
		return databaseTimeout
	}
	return min(databaseTimeout<<min(f.failures, maxDoublings), maxFirstTimeout)
}

// start gives the place behind which a pass reads.
func (f *front) start(now time.Time) Place {
	// A clock that was set back says nothing of how long it has been.
	if since := now.Sub(f.whole); f.place != (Place{}) && 0 <= since && since < f.wait {
		return f.place
	}
	f.whole = now
	return Place{}
}

// lasted notes how long the first reading of a pass over all rows took.
func (f *front) lasted(took time.Duration) {
	f.wait = min(max(wholeEvery, wholeShare*took), maxWholeWait)
}

// move notes what a pass that began at a time read first.
func (f *front) move(began time.Time, rows []Row) {
	f.place = Place{DueAt: began.Add(-lateBy)}
	if len(rows) > 0 && rows[0].Place.before(f.place) {
		f.place = Place{DueAt: rows[0].Place.DueAt, Seq: rows[0].Place.Seq - 1}
	}
}

// reach has the next pass begin in front of what was due at a time.
func (f *front) reach(due time.Time) {
	if place := (Place{DueAt: due}); place.before(f.place) {
		f.place = place
	}
}
