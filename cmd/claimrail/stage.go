package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stopTimeout bounds a stop as a whole. What is not done by then is as after a crash,
// which loses nothing.
const stopTimeout = 20 * time.Second

// stage is something that runs until its context ends.
type stage struct {
	name string
	run  func(context.Context) error
}

// running is a stage that was started.
type running struct {
	stage
	stop   context.CancelFunc
	ended  chan struct{}
	result error // once ended is closed
}

// runStages starts the stages, the last first, so that each finds those behind it running.
// When ctx ends, or one of them does, it stops them one after the other, the first
// first: each finishes what it has while those behind it still run. It gives the errors
// of all.
func runStages(ctx context.Context, stages []stage) error {
	started := make([]*running, len(stages))
	first := make(chan *running, len(stages)) // those that ended, in order
	for i := len(stages) - 1; i >= 0; i-- {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		r := &running{stage: stages[i], stop: stop, ended: make(chan struct{})}
		started[i] = r
		go func() {
			r.result = r.run(own)
			close(r.ended)
			first <- r
		}()
	}
	var early error
	select {
	case <-ctx.Done():
	case r := <-first:
		if r.result == nil {
			early = fmt.Errorf("%s ended too early", r.name)
		}
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	errs := []error{early}
	for _, r := range started {
		r.stop()
		select {
		case <-r.ended:
			errs = append(errs, r.result)
		case <-timeout.C:
			return errors.Join(append(errs, fmt.Errorf("stop: %s is not done after %s", r.name, stopTimeout))...)
		}
	}
	return errors.Join(errs...)
}

// closeBy closes what the stages used, and waits for that until the stop has to be over; a zero time is
// for as long as it takes. A connection that a stage still has is not given back before the stage ends.
func closeBy(end time.Time, closeAll func() error) error {
	if end.IsZero() {
		return closeAll()
	}
	closed := make(chan error, 1)
	go func() { closed <- closeAll() }()
	timeout := time.NewTimer(time.Until(end))
	defer timeout.Stop()
	select {
	case err := <-closed:
		return err
	case <-timeout.C:
		return fmt.Errorf("stop: what was open is not closed after %s", stopTimeout)
	}
}
