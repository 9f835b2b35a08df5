package bulk

import (
	"errors"
	"fmt"
	"time"

	"github.com/claimrail/claimrail/internal/store"
)

// errChanged: a claim that was accepted in an earlier pass was rejected in this one.
var errChanged = errors.New("the rules have changed since the import began; what was accepted stays: send the file again")

// sums is what a pass counts by itself. Good claims are stored, now or before; which of them the
// import itself has stored, in this pass or an earlier one, only its own counter knows.
type sums struct {
	read, good, fresh, rejected Accepted
	warnings, partFaults        int64
}

func (a *Accepted) add(claims, lines int) {
	a.Claims += int64(claims)
	a.Lines += int64(lines)
}

// count counts a verdict.
func (p *Pass) count(v *Verdict) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	claims, lines := v.Parcel.Claims, v.Parcel.Lines
	p.sum.read.add(claims, lines)
	for i := range v.Faults {
		if v.Faults[i].Part != "" && IsError(&v.Faults[i]) {
			p.sum.partFaults++
		}
	}
	if v.Claim == nil {
		p.sum.rejected.add(claims, lines)
		return nil
	}
	p.sum.good.add(claims, lines)
	netFee := v.Claim.NetFee()
	p.sum.good.NetFee, err = p.sum.good.NetFee.Add(netFee)
	if err == nil && !v.Duplicate {
		p.sum.fresh.add(claims, lines)
		p.sum.fresh.NetFee, err = p.sum.fresh.NetFee.Add(netFee)
	}
	if err != nil {
		return fmt.Errorf("add up the net fees of the file: %w", err)
	}
	p.sum.warnings += int64(len(v.Claim.Warnings))
	return nil
}

// Tally gives the counts so far. Any goroutine may call it. While a file is passed again,
// what was accepted before is ahead of what was read.
func (p *Pass) Tally() store.Tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sum.tally(p.File.ReadBytes(), Accepted{
		p.Before.Claims + p.sum.fresh.Claims, p.Before.Lines + p.sum.fresh.Lines, p.Before.NetFee + p.sum.fresh.NetFee,
	})
}

// Final gives the counts of a pass that has ended, where accepted is what the import's own
// counter says; a dry run has none, and counts by itself. The error says why they do not add up; of a
// pass that stopped at a rejected claim nobody can tell: one before it may have stored what is behind.
func (p *Pass) Final(accepted Accepted) (store.Tally, error) {
	if p.DryRun {
		return p.Tally(), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if !p.stopped && (p.sum.good.Claims < accepted.Claims || p.sum.good.Lines < accepted.Lines) {
		err = errChanged
	}
	tally := p.sum.tally(p.File.ReadBytes(), accepted)
	// Of a pass that failed, what was stored and not told any more has been read as well.
	tally.Claims.Read = tally.Claims.Accepted + tally.Claims.Duplicate + tally.Claims.Rejected
	tally.Lines.Read = tally.Lines.Accepted + tally.Lines.Duplicate + tally.Lines.Rejected
	return tally, err
}

// tally gives the counts where so much was accepted. The net fee is of as many claims as are accepted
// or duplicate: of the good ones, or where more were accepted before than have been read again, of those.
func (s *sums) tally(readBytes int64, accepted Accepted) store.Tally {
	netFee := s.good.NetFee
	if s.good.Claims < accepted.Claims {
		netFee = accepted.NetFee
	}
	return store.Tally{
		ReadBytes: readBytes,
		Claims: store.Fates{
			Read: s.read.Claims, Accepted: accepted.Claims,
			Duplicate: max(0, s.good.Claims-accepted.Claims), Rejected: s.rejected.Claims,
		},
		Lines: store.Fates{
			Read: s.read.Lines, Accepted: accepted.Lines,
			Duplicate: max(0, s.good.Lines-accepted.Lines), Rejected: s.rejected.Lines,
		},
		Warnings:       s.warnings,
		NetFee:         netFee,
		AcceptedNetFee: accepted.NetFee,
		PartFaults:     s.partFaults,
	}
}

// Pace is how fast an import comes on.
type Pace struct {
	BytesPerSecond float64       // of the file as sent; 0 where it can not be told yet
	Left           time.Duration // until it has ended; 0 where it can not be told
}

// minPaceTime is how long an import must have run for its pace to be told.
const minPaceTime = time.Second

// IsInterrupted tells whether an import that runs has no runner any more, and no server takes it up: who
// has the file must import it again, which goes on with it. A runner gives up before that.
func IsInterrupted(i *store.Import, now time.Time) bool {
	return i.State == store.ImportRunning && !i.Kept && now.After(i.LeasedUntil.Add(interruptedAfter))
}

// PaceOf tells the pace of an import that runs or has ended, over all of its time.
func PaceOf(i *store.Import, now time.Time) Pace {
	over := i.State.Ended()
	switch {
	case !i.FinishedAt.IsZero():
		now = i.FinishedAt
	case IsInterrupted(i, now):
		now, over = i.LeasedUntil, true
	}
	took := now.Sub(i.StartedAt)
	if i.StartedAt.IsZero() || i.ReadBytes == 0 || took <= 0 || i.FinishedAt.IsZero() && took < minPaceTime {
		return Pace{}
	}
	pace := Pace{BytesPerSecond: float64(i.ReadBytes) / took.Seconds()}
	if left := i.Bytes - i.ReadBytes; left > 0 && !over {
		pace.Left = time.Duration(float64(left) / pace.BytesPerSecond * float64(time.Second))
	}
	return pace
}
