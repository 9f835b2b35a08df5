package api_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// Claims are downloaded in both forms, by the filters of the list, with a name and without being
// kept on the way; an export can be sent again, claim by claim, and nothing is stored.
func TestExportClaims(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.want(b.send(http.MethodPost, "/v1/claims", claimOf("C-1", line(), line(`"plan_group_number": "=1"`))), 201)
	b.clock.add(time.Hour)
	b.want(b.send(http.MethodPost, "/claim-process", "["+line(`"provider_npi": "0000000006"`)+"]"), 200)
	got := b.want(b.send(http.MethodGet, "/v1/export/claims", ""), 200)
	if rows := strings.Split(got.body, "\n"); len(rows) != 5 || !strings.HasPrefix(rows[0], "external_claim_id,claim_key,") ||
		!strings.HasPrefix(rows[1], "C-1,,") || !strings.Contains(rows[2], ",'=1,") || !strings.HasPrefix(rows[3], ",id:") {
		t.Errorf("CSV: got %s", got.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/csv; charset=utf-8; header=present", "Cache-Control": "no-store",
		"Content-Disposition": `attachment; filename="claims-20260328T130000Z.csv"`,
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	got = b.want(b.send(http.MethodGet, "/v1/export/claims?format=ndjson", ""), 200)
	for text := range strings.Lines(got.body) {
		b.want(b.send(http.MethodPost, "/v1/claims", text), 200)
	}
	if strings.Count(got.body, "\n") != 2 || b.stored() != 2 || got.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("NDJSON: got %v %s, want 2 claims, and %d stored", got.header, got.body, b.stored())
	}
	for query, want := range map[string]int{
		"provider_npi=0000000006": 1, "status=settled": 0, "payment_state=pending": 2,
		"received_from=2026-03-28T12:30:00Z": 1, "received_to=2026-03-28T12:30:00Z": 1,
	} {
		got := b.want(b.send(http.MethodGet, "/v1/export/claims?format=ndjson&"+query, ""), 200)
		if n := strings.Count(got.body, "\n"); n != want {
			t.Errorf("%s: got %d claims, want %d", query, n, want)
		}
	}
	for _, query := range []string{"format=xlsx", "status=lost", "limit=1", "provider_npi=1", "received_from=x"} {
		b.want(b.send(http.MethodGet, "/v1/export/claims?"+query, ""), 422)
	}
	b.want(b.send(http.MethodHead, "/v1/export/claims", ""), 200)
	b.want(b.send(http.MethodPost, "/v1/export/claims", ""), 405)
}

// Payments and dead letters are downloaded by filter, more of them than a page has.
func TestExportPayments(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const count = payment.MaxPage + 7
	for i := range count {
		key := event.Key{ClaimID: uuid.New(), Version: 1}
		npi := fmt.Sprintf("%010d", i%2)
		claim := event.ClaimAccepted{
			Ref: event.Ref{Key: key}, NetFee: 5, Postings: []event.Posting{{ProviderNPI: npi, NetFee: 5}}, AcceptedAt: b.clock.now(),
		}
		if _, err := b.ledger.Record(t.Context(), []event.ClaimAccepted{claim}, b.clock.now()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.clock.add(time.Hour)
		}
	}
	b.park("m1", event.Ref{}, payment.ReasonMalformed)
	b.park("m2", event.Ref{Key: event.Key{ClaimID: uuid.New(), Version: 1}}, payment.ReasonFailed)
	for path, want := range map[string]int{
		"payments":               count + 1,
		"payments?format=ndjson": count,
		"payments?format=ndjson&provider_npi=0000000000":            (count + 1) / 2,
		"payments?format=ndjson&recorded_to=2026-03-28T12:30:00Z":   1,
		"payments?format=ndjson&recorded_from=2026-03-28T12:30:00Z": count - 1,
		"dead-letters": 3,
		"dead-letters?format=ndjson&reason=failed":        1,
		"dead-letters?format=ndjson&state=discarded":      0,
		"dead-letters?format=ndjson&parked_to=2026-03-28": 0,
	} {
		got := b.want(b.send(http.MethodGet, "/v1/export/"+path, ""), 200)
		if rows := strings.Count(got.body, "\n"); rows != want {
			t.Errorf("%s: got %d rows, want %d", path, rows, want)
		}
	}
	b.want(b.send(http.MethodGet, "/v1/export/payments?provider_npi=1", ""), 422)
	b.want(b.send(http.MethodGet, "/v1/export/dead-letters?state=lost", ""), 422)
}

// heldRecords gives a claim and then holds on until it is released.
type heldRecords struct {
	*sqlitestore.Store
	entered chan struct{}
	release chan struct{}
}

func (h heldRecords) Records(context.Context, store.Filter) iter.Seq2[store.Record, error] {
	return func(func(store.Record, error) bool) {
		h.entered <- struct{}{}
		<-h.release
	}
}

// Downloads beyond those that may be under way at once are refused for a while, which is no error of
// ours in the log; all else is answered.
func TestDownloadsAtOnce(t *testing.T) {
	t.Parallel()
	held := heldRecords{entered: make(chan struct{}), release: make(chan struct{})}
	b := setup(t, func(config *api.Config) {
		held.Store = config.Claims.(*sqlitestore.Store)
		config.Claims = held
	})
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() { b.send(http.MethodGet, "/v1/export/claims", "") })
		<-held.entered
	}
	got := b.want(b.send(http.MethodGet, "/v1/export/claims", ""), 503)
	if got.header.Get("Retry-After") != "10" || !strings.Contains(got.body, `"code":"busy"`) {
		t.Errorf("got %v %s, want busy for 10 s", got.header, got.body)
	}
	if log := b.log.String(); strings.Contains(log, "level=ERROR") || strings.Count(log, `level=WARN msg="request refused"`) != 1 {
		t.Errorf("got log %s, want one warning", log)
	}
	b.want(b.send(http.MethodGet, "/v1/claims", ""), 200)
	close(held.release)
	waiting.Wait()
}
