package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// maxStall is how long a transfer may stand still, and how long a server that imports may be away;
// its restart is shorter.
const maxStall = 60 * time.Second

// stall ends a transfer, which may take any time, once nothing moved for a period.
type stall struct {
	period time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watchStall gives the context of a transfer. Close what it gives beside it.
func watchStall(ctx context.Context, period time.Duration) (context.Context, *stall) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(period, func() { cancel(stalled(period)) })
	return ctx, &stall{period, timer, cancel}
}

// stalled is the cause of a transfer's end.
func stalled(period time.Duration) error { return fmt.Errorf("nothing moved for %s", period) }

// moved begins the period anew.
func (s *stall) moved() { s.timer.Reset(s.period) }

// pause stops the period until something moves: what is waited for is not the server.
func (s *stall) pause() { s.timer.Stop() }

func (s *stall) close() {
	s.timer.Stop()
	s.cancel(nil)
}

// causeOf gives the reason why ctx ended, where it did, in place of the error that says that it did.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watchedReader bounds each wait for bytes, and keeps the error that ended them. How long their
// taker needs does not count.
type watchedReader struct {
	from  io.Reader
	stall *stall
	err   error // but for io.EOF
}

// Read implements io.Reader.
func (w *watchedReader) Read(into []byte) (int, error) {
	w.stall.moved()
	n, err := w.from.Read(into)
	w.stall.pause()
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
