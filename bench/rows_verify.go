package main

import (
	"context"
	"fmt"
	"time"
)

// Sizes of the row of verify: so many files of a million lines.
const (
	verifiedFiles = 10
	verifySeconds = 120 // at most
)

// openVerify fills a database with claims that are paid and settled, and has all of them verified. The
// other side is what reading that much takes at the least: the database adds up lines and payments.
func openVerify(ctx context.Context, r *rig) (*bout, error) {
	settings, url, err := r.onPostgres(ctx)
	if err != nil {
		return nil, err
	}
	for n := range verifiedFiles {
		if _, err := r.growOnce(ctx, n, importedClaims, settings, url); err != nil {
			return nil, err
		}
	}
	ours := func(ctx context.Context) (sample, error) {
		command := r.claimrail(ctx, settings, "verify")
		started := time.Now()
		if output, err := command.CombinedOutput(); err != nil {
			return sample{}, fmt.Errorf("verify: %w: %s", err, lastLine(output))
		}
		return sample{value: time.Since(started).Seconds(), notes: map[string]float64{
			"CPU seconds": command.ProcessState.UserTime().Seconds() + command.ProcessState.SystemTime().Seconds(), "MB peak": peakMB(command),
		}}, nil
	}
	theirs := func(ctx context.Context) (sample, error) {
		started := time.Now()
		difference, err := ask(ctx, url, `SELECT ((SELECT sum(provider_fees_cents + member_coinsurance_cents + member_copay_cents - allowed_fees_cents) FROM claims.lines) -
			(SELECT sum(net_fee_cents) FROM payments.payments))::float8`)
		if err == nil && difference != 0 {
			err = fmt.Errorf("lines and payments differ by %.0f cents", difference)
		}
		return sample{value: time.Since(started).Seconds()}, err
	}
	return &bout{
		sides:  []side{{"claimrail verify", ours}, {"two sums", theirs}},
		limits: []limit{{figure: true, most: verifySeconds}, {against: 1}},
		close:  func() { _ = r.drop(context.WithoutCancel(ctx), url) },
	}, nil
}
