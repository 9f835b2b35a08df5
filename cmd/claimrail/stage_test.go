package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A stop ends in time although a stage does not, and although what it holds can not be closed; what can be
// closed in time is, and its error is told.
func TestStopEndsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		stuck := make(chan struct{})
		defer close(stuck)
		hang := func(context.Context) error { <-stuck; return nil }
		began := time.Now()
		if err := runStages(ctx, []stage{{"stuck", hang}}); err == nil {
			t.Error("a stage that does not end: got no error")
		}
		if err := closeBy(began.Add(stopTimeout), func() error { return hang(ctx) }); err == nil {
			t.Error("what can not be closed: got no error")
		}
		if took := time.Since(began); took != stopTimeout {
			t.Errorf("stop: got %v, want %v", took, stopTimeout)
		}
		full := errors.New("disk full")
		for _, end := range []time.Time{{}, time.Now().Add(time.Second)} {
			if err := closeBy(end, func() error { return full }); !errors.Is(err, full) {
				t.Errorf("close by %v: got %v, want %v", end, err, full)
			}
		}
	})
}
