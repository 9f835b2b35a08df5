package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
)

// desk is a system with so many open dead letters and nothing else, the newest first.
type desk struct {
	system // nil
	open   int64
}

// DeadLetters implements letterBox.
func (d *desk) DeadLetters(_ context.Context, filter payment.LetterFilter) (page api.DeadLetterPage, err error) {
	id := d.open
	if filter.Before > 0 {
		id = filter.Before - 1
	}
	for ; id > 0 && len(page.DeadLetters) < filter.Limit; id-- {
		page.DeadLetters = append(page.DeadLetters, api.DeadLetter{ID: id})
	}
	if id > 0 {
		page.NextCursor = strconv.FormatInt(id+1, 10)
	}
	return page, nil
}

// Decisions on many dead letters, over all their pages, are so far apart that no second has more of
// them than --rate says, and no farther; one that takes long is not made up for by a burst. With the
// usual rate 50 are decided on in a second.
func TestDecisionsKeepTheirRate(t *testing.T) {
	t.Parallel()
	const slow = 260 * time.Millisecond
	for _, test := range []struct {
		rate, letters int
		slow          int64         // the letter whose decision is; 0: none
		want          time.Duration // of all
	}{
		{rate: 1, letters: 5, want: 5 * time.Second},
		{rate: 10, letters: payment.MaxPage + 50, want: time.Duration(payment.MaxPage+50) * 100 * time.Millisecond},
		{rate: defaultRate, letters: 200, want: 4 * time.Second},
		{rate: maxRatePerSec, letters: 2000, want: 2 * time.Second},
		{rate: 10, letters: 50, slow: 25, want: 5*time.Second + 160*time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &program{stdout: io.Discard, stderr: io.Discard}
			d := &decisionFlags{verb: "redrive", rate: test.rate, limit: maxManyLetters}
			begin, times := time.Now(), []time.Time(nil)
			err := p.decideMany(t.Context(), &desk{open: int64(test.letters)}, d, payment.LetterFilter{}, func(id int64) (api.DeadLetter, error) {
				times = append(times, time.Now())
				if id == test.slow {
					<-time.After(slow)
				}
				return api.DeadLetter{ID: id}, nil
			})
			if err != nil || len(times) != test.letters {
				t.Fatalf("rate %d: got %d decisions, %v, want %d", test.rate, len(times), err, test.letters)
			}
			for i := test.rate; i < len(times); i++ {
				if within := times[i].Sub(times[i-test.rate]); within < time.Second {
					t.Fatalf("rate %d, slow %d: got %d decisions within %v, from the %d. on", test.rate, test.slow, test.rate+1, within, i-test.rate)
				}
			}
			if took := time.Since(begin); took != test.want {
				t.Errorf("rate %d, slow %d: got %d decisions in %v, want %v", test.rate, test.slow, len(times), took, test.want)
			}
		})
	}
}

// Dead letters that can not be decided on do not count for --limit: those behind them have their turn, and
// both are told.
func TestUndecidableLettersAreNotInTheWay(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	p := &program{stdout: io.Discard, stderr: &said}
	d := &decisionFlags{verb: redrive, rate: maxRatePerSec, limit: 3}
	var done []int64
	err := p.decideMany(t.Context(), &desk{open: 10}, d, payment.LetterFilter{}, func(id int64) (api.DeadLetter, error) {
		switch {
		case id > 7:
			return api.DeadLetter{}, payment.ErrPaid
		case id > 5:
			return api.DeadLetter{}, payment.ErrNoClaim
		default:
			done = append(done, id)
			return api.DeadLetter{ID: id}, nil
		}
	})
	if want := []int64{5, 4, 3}; err != nil || !slices.Equal(done, want) {
		t.Errorf("got %v, %v, want %v", done, err, want)
	}
	const want = "redrive: 3 done, 2 name no claim and can only be discarded, 3 are of paid claims and can only be discarded\n" +
		"there are more: these were the 3 of --limit; give the command again, or a larger --limit\n"
	if said.String() != want {
		t.Errorf("got %q, want %q", &said, want)
	}
}
