package main

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// A line that runs verifies samples of its claims and counts them in its metrics, without anybody asking.
func TestLineSamples(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil, "--data-dir", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	l, err := openLine(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := l.claims.Accept(ctx, []store.Submission{{Claim: smallClaim(t, l.validator)}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	draws := make(chan struct{})
	l.sampler.Every = time.Millisecond
	l.sampler.Random = func(n int64) int64 {
		select {
		case draws <- struct{}{}:
		case <-ctx.Done():
		}
		return n - 1
	}
	metrics := newMeter(l).handler()
	ended := make(chan error)
	go func() { ended <- runStages(ctx, l.stages()) }()
	for counted := false; !counted; {
		select {
		case <-draws: // what was drawn before is counted, unless payments did not answer yet
		case <-ctx.Done():
			t.Fatalf("no claim was verified: %v", <-ended)
		}
		answer := httptest.NewRecorder()
		metrics.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil))
		page := answer.Body.String()
		counted = !strings.Contains(page, "\nclaimrail_verify_claims_total 0\n")
		if !strings.Contains(page, "\nclaimrail_verify_claims_total ") || !strings.Contains(page, "\nclaimrail_verify_breaches_total 0\n") {
			t.Fatalf("claims that were verified, and breaches: got\n%s", page)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// smallClaim gives a claim of one line.
func smallClaim(t *testing.T, validator *claim.Validator) *claim.Claim {
	t.Helper()
	line := claim.RawLine{Shape: claim.Object}
	for field, text := range map[claim.Field]string{
		claim.ServiceDateField: "2018-03-28", claim.ProcedureField: "D0180", claim.PlanGroupField: "GRP-1000",
		claim.SubscriberField: "0030189502", claim.ProviderNPIField: "1497775530", claim.ProviderFeesField: "100.00",
		claim.AllowedFeesField: "20.00", claim.CoinsuranceField: "0", claim.CopayField: "0",
	} {
		line.Fields[field] = claim.Raw{Shape: claim.Text, Text: text}
	}
	made, violations := validator.Validate(&claim.Draft{Lines: []claim.RawLine{line}})
	if made == nil {
		t.Fatalf("the claim is not valid: %v", violations)
	}
	return made
}
