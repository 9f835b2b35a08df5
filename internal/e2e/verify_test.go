package e2e_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/claimrail/claimrail/internal/verify"
)

// Bounds of the runs of verify under load.
const (
	verifyRuns = 6
	verifyFlow = 150 // claims acknowledged between two of them, at least
)

// While clients send claims and payments pays them, "claimrail verify" reads both databases on
// Postgres, one after the other: it ends well every time, finds no breach, and counts more claims
// each time, some of them under way.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	f := newFleet(t, 1)
	l := newLoad(f.claims[0].system, random)
	before, busy := 0, 0
	for range verifyRuns {
		l.flow(verifyFlow)
		told := l.acknowledged.Load()
		report := f.verify()
		if l.acknowledged.Load() == told {
			t.Error("no claim came while verify ran")
		}
		if report.Claims <= before {
			t.Errorf("got %d claims, want more than the %d of the run before", report.Claims, before)
		}
		before = report.Claims
		if report.InFlight > 0 {
			busy++
		}
	}
	l.end()
	if busy == 0 {
		t.Errorf("%d runs found no claim under way, want some", verifyRuns)
	}
	report := f.finish(l.history)
	t.Logf("%d runs of verify while %d claims came, %d of them with claims under way", verifyRuns, report.Claims, busy)
}

// verify runs the command to its end, which must be a good one, and gives its report.
func (f *fleet) verify() (report verify.Report) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	s := newSystem(f.T)
	command := exec.CommandContext(ctx, s.program, "verify", "--json")
	command.Dir, command.Env = s.home, append([]string{"HOME=" + s.home}, f.environ...)
	output, err := command.Output()
	if err != nil {
		f.Errorf("verify under load: %v: %s", err, output)
		return report
	}
	if err := json.Unmarshal(output, &report); err != nil {
		f.Fatalf("verify under load: read its report: %v: %s", err, output)
	}
	if !report.Clean() || len(report.Checks) == 0 {
		f.Errorf("verify under load: got %d breaches in %d checks, want none in some: %s", report.Breaches(), len(report.Checks), output)
	}
	return report
}
