package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A stream or a consumer is made as soon as the deleted one is out of the way, and not tried for
// ever; what else goes wrong is told at once. A consumer that was deleted under a request once
// could not be made again, and one whose stream was deleted right after an answer neither.
func TestCreateWaitsForTheOldOne(t *testing.T) {
	t.Parallel()
	stays := func(of string) error {
		return &jetstream.APIError{Code: 500, ErrorCode: 10012, Description: "error creating store for " + of}
	}
	other := &jetstream.APIError{Code: 400, ErrorCode: 10025, Description: "bad request"}
	written := &jetstream.APIError{
		Code: 500, ErrorCode: 10012,
		Description: "rename streams/X/obs/y/o.dat.tmp streams/X/obs/y/o.dat: no such file or directory",
	}
	for name, test := range map[string]struct {
		err   error
		fails int // tries that fail
		want  error
		tries int
	}{
		"at once":  {nil, 0, nil, 1},
		"stream":   {stays("stream"), 3, nil, 4},
		"consumer": {stays("consumer"), createTries - 1, nil, createTries},
		"written":  {written, 1, nil, 2},
		"for ever": {stays("consumer"), 1000, stays("consumer"), createTries},
		"other":    {other, 1000, other, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			err := create(t.Context(), func() error {
				if tries++; tries <= test.fails {
					return test.err
				}
				return nil
			})
			if (err == nil) != (test.want == nil) || err != nil && err.Error() != test.want.Error() || tries != test.tries {
				t.Errorf("%s: got %v after %d tries, want %v after %d", name, err, tries, test.want, test.tries)
			}
			if took := time.Since(began); took != time.Duration(tries-1)*createPause {
				t.Errorf("%s: got %v for %d tries", name, took, tries)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := create(ctx, func() error { return stays("stream") }); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("given up: got %v, want why it could not be made", err)
	}
}
