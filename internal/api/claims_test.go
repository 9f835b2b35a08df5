package api_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
)

// claimOf gives a claim with an external id.
func claimOf(id string, lines ...string) string {
	return `{"external_claim_id": "` + id + `", "lines": [` + strings.Join(lines, ",") + `]}`
}

// A claim is answered 201 when it is stored and 200 with what is stored when it was there
// already; another claim under the same name is refused, whichever name that is.
func TestCreateClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := claimOf("C-1", line(), line(`"provider_npi": "1234567890"`, `"quadrant": "UR"`))
	created := b.want(b.send(http.MethodPost, "/v1/claims", body), 201)
	got := decode[api.Claim](t, created.body)
	if got.Status != "in_flight" || got.Payment.State != "pending" || got.NetFee != "162.50" || got.ExpectedPlanPayment != "97.50" ||
		got.ExternalClaimID == nil || *got.ExternalClaimID != "C-1" || got.LineCount != 2 || len(got.Lines) != 2 ||
		got.Lines[1].ID != got.Lines[0].ID+1 || got.Lines[1].NetFee != "81.25" || !got.ReceivedAt.Equal(b.clock.now()) {
		t.Errorf("created: got %s", created.body)
	}
	zero := 1
	same(t, "warnings", got.Warnings, []api.Warning{{
		Line: &zero, Field: "provider_npi", Code: "npi-check-digit", Message: "the last digit of the NPI is not its check digit; was it mistyped?",
	}})
	if where := created.header.Get("Location"); where != "/v1/claims/"+got.ClaimID {
		t.Errorf("location: got %s", where)
	}
	b.clock.add(time.Hour)
	again := b.want(b.send(http.MethodPost, "/v1/claims", body), 200)
	same(t, "again", decode[api.Claim](t, again.body), got)
	same(t, "read", decode[api.Claim](t, b.want(b.send(http.MethodGet, "/v1/claims/"+got.ClaimID, ""), 200).body), got)
	problem := decode[api.Problem](t, b.want(b.send(http.MethodPost, "/v1/claims", claimOf("C-1", line())), 409).body)
	if problem.Code != "other-claim" || problem.Status != 409 || !strings.HasPrefix(problem.Type, "urn:") {
		t.Errorf("another claim under the id: got %+v", problem)
	}
	bare := "[" + line() + "]"
	b.want(b.send(http.MethodPost, "/v1/claims", bare, "Idempotency-Key: k"), 201)
	b.want(b.send(http.MethodPost, "/v1/claims", bare, "Idempotency-Key: k"), 200)
	b.want(b.send(http.MethodPost, "/v1/claims", "["+line(`"provider_fees": 1`)+"]", "Idempotency-Key: k"), 409)
	b.want(b.send(http.MethodPost, "/v1/claims", "[]"), 422)
	b.want(b.send(http.MethodPost, "/v1/claims", `{"external_claim_ID": "C-1", "lines": [`+line()+`]}`), 422)
	if b.stored() != 2 {
		t.Errorf("got %d claims, want 2", b.stored())
	}
}

// The external id is the name of a claim that has one, and its Idempotency-Key says nothing.
func TestExternalIDGoesFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, other := claimOf("C-1", line()), claimOf("C-2", line())
	b.want(b.send(http.MethodPost, "/v1/claims", first, "Idempotency-Key: k"), 201)
	b.want(b.send(http.MethodPost, "/v1/claims", first, "Idempotency-Key: l"), 200)
	b.want(b.send(http.MethodPost, "/v1/claims", other, "Idempotency-Key: k"), 201)
	b.want(b.send(http.MethodPost, "/v1/claims", "["+line()+"]", "Idempotency-Key: k"), 201)
	if b.stored() != 3 {
		t.Errorf("got %d claims, want 3", b.stored())
	}
}

// A problem lists every violation, errors and warnings apart, and shows what was found, but for health data.
func TestClaimProblem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := decode[api.Problem](t, b.want(b.send(http.MethodPost, "/v1/claims",
		claimOf("C-1", line(`"service_date": "31/12/18 0:00"`, `"subscriber_number": 1.5`, `"provider_npi": "149777553"`, `"quadrant": "Upper"`))), 422).body)
	var found []string
	for _, e := range got.Errors {
		found = append(found, fmt.Sprint(*e.Line, " ", e.Field, " ", e.Code, " ", string(e.Input)))
	}
	same(t, "errors", found, []string{"0 service_date service-date ", "0 subscriber_number type ", `0 provider_npi npi-digits "999999999"`})
	if len(got.Warnings) != 1 || got.Warnings[0].Code != "quadrant-code" {
		t.Errorf("got warnings %+v, want one, quadrant-code", got.Warnings)
	}
}

// Claims are listed newest first, by every filter, page by page until nothing is left.
func TestListClaims(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 5 {
		npi := []string{"1497775530", "1999999984"}[i%2]
		b.want(b.send(http.MethodPost, "/v1/claims", claimOf(fmt.Sprint("C-", i), line(`"provider_npi": "`+npi+`"`))), 201)
		b.clock.add(time.Minute)
	}
	list := func(query string) (ids string, next string) {
		page := decode[api.ClaimPage](t, b.want(b.send(http.MethodGet, "/v1/claims?"+query, ""), 200).body)
		for _, c := range page.Claims {
			ids += *c.ExternalClaimID + " "
		}
		return ids, page.NextCursor
	}
	for query, want := range map[string]string{
		"":                                   "C-4 C-3 C-2 C-1 C-0 ",
		"provider_npi=1999999984":            "C-3 C-1 ",
		"status=settled":                     "",
		"status=in_flight&limit=2":           "C-4 C-3 ",
		"payment_state=pending&limit=1":      "C-4 ",
		"received_from=2026-03-28T12:03:00Z": "C-4 C-3 ",
		"received_to=2026-03-28T12:01:00Z":   "C-0 ",
		"received_from=2026-03-29":           "",
	} {
		if ids, _ := list(query); ids != want {
			t.Errorf("%s: got %q, want %q", query, ids, want)
		}
	}
	var all strings.Builder
	for cursor, pages := "", 0; pages < 9; pages++ {
		ids, next := list("limit=2" + cursor)
		all.WriteString(ids)
		if next == "" {
			break
		}
		cursor = "&cursor=" + next
	}
	same(t, "pages", all.String(), "C-4 C-3 C-2 C-1 C-0 ")
	for _, query := range []string{
		"status=paid", "payment_state=x", "provider_npi=12", "limit=0", "limit=201", "cursor=-1", "cursor=x", "received_from=yesterday",
		"npi=1497775530", "limit=1&limit=2",
	} {
		b.want(b.send(http.MethodGet, "/v1/claims?"+query, ""), 422)
	}
	for _, path := range []string{"/v1/claims", "/v1/export/claims", "/v1/export/payments", "/v1/dead-letters", "/v1/imports"} {
		for _, query := range []string{"limit=1;status=settled", "status=%zz", "%"} { // a filter that is dropped shows too much
			b.want(b.send(http.MethodGet, path+"?"+query, ""), 422)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} { // a probe may say what it likes
		b.want(b.send(http.MethodGet, path+"?now=1;", ""), 200)
	}
	two := decode[api.Problem](t, b.send(http.MethodGet, "/v1/claims?limit=x&status=y", "").body)
	if len(two.Errors) != 2 {
		t.Errorf("two bad parameters: got %+v, want both named", two.Errors)
	}
}

// What is not there is not found, and an id that can not be one is told apart from that.
func TestNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, status := range map[string]int{
		"/v1/claims/" + uuid.NewString():          404,
		"/v1/payments/" + uuid.NewString():        404,
		"/v1/claims/7":                            422,
		"/v1/payments/{" + uuid.NewString() + "}": 422,
		"/v2/claims":                              404,
		"/claim-process":                          405,
		"/v1/dead-letters/7/redrive":              405,
	} {
		got := b.want(b.send(http.MethodGet, path, ""), status)
		if problem := decode[api.Problem](t, got.body); problem.Status != status || problem.Detail == "" {
			t.Errorf("%s: got %s", path, got.body)
		}
		if status == 405 && got.header.Get("Allow") != http.MethodPost {
			t.Errorf("%s: got Allow %q", path, got.header.Get("Allow"))
		}
	}
}

// A path that takes no such method names all that it takes, in one line.
func TestAllow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, want := range map[string]string{
		"/v1/claims": "GET, HEAD, POST", "/top-providers": "GET, HEAD", "/claim-process": "POST", "/metrics": "GET, HEAD", "/": "GET, HEAD",
	} {
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions} {
			got := b.want(b.send(method, path, ""), 405)
			if lines := got.header.Values("Allow"); len(lines) != 1 || lines[0] != want {
				t.Errorf("%s %s: got Allow %q, want %q in one line", method, path, lines, want)
			}
		}
	}
	b.want(b.send(http.MethodHead, "/v1/claims", ""), 200)
	b.want(b.send(http.MethodHead, "/claim-process", ""), 405)
}

// A path with a / too many at its end is not found, and the answer says what is wrong with it; of any
// other path it does not.
func TestTrailingSlash(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, hinted := range map[string]bool{
		"/v1/claims/": true, "/claim-process/": true, "/healthz/": true, "/v1/claims/" + uuid.NewString() + "/": true, "/v2/": false, "/v2": false,
	} {
		got := b.want(b.send(http.MethodGet, path, ""), 404)
		if strings.Contains(got.body, "leave out the /") != hinted {
			t.Errorf("%s: got %s, want the hint: %t", path, got.body, hinted)
		}
	}
}

// A payment is shown, once it is recorded, with one posting for each provider.
func TestPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	accepted := event.ClaimAccepted{
		Ref: event.Ref{Key: event.Key{ClaimID: uuid.New(), Version: 1}}, NetFee: 8125,
		Postings: []event.Posting{{ProviderNPI: "1497775530", NetFee: 9125}, {ProviderNPI: "1999999984", NetFee: -1000}},
	}
	path := "/v1/payments/" + accepted.ClaimID.String()
	if got := b.want(b.send(http.MethodGet, path, ""), 404); !strings.Contains(got.body, "no payment is recorded for this claim") {
		t.Errorf("before it is paid: got %s", got.body)
	}
	if _, err := b.ledger.Record(t.Context(), []event.ClaimAccepted{accepted}, b.clock.now()); err != nil {
		t.Fatal(err)
	}
	same(t, "payment", decode[api.Payment](t, b.want(b.send(http.MethodGet, path, ""), 200).body), api.Payment{
		PaymentID: payment.ID(accepted.Key).String(), ClaimID: accepted.ClaimID.String(), Version: 1, NetFee: "81.25",
		Postings:   []api.Posting{{ProviderNPI: "1497775530", NetFee: "91.25"}, {ProviderNPI: "1999999984", NetFee: "-10.00"}},
		RecordedAt: b.clock.now(),
	})
}

// park puts a dead letter into the ledger and gives its id.
func (b *bench) park(messageID string, ref event.Ref, reason payment.Reason) int64 {
	b.t.Helper()
	err := b.ledger.Park(b.t.Context(), payment.DeadLetter{
		MessageID: messageID, Ref: ref, NetFee: money.Cents(8125), Reason: reason, Error: "constraint failed", Attempts: 8, Providers: []string{"1497775530"},
		Body: []byte("{}"), BodyHash: sha256.Sum256([]byte("{}")), ParkedAt: b.clock.now(),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	letters, err := b.ledger.DeadLetters(b.t.Context(), payment.LetterFilter{Limit: 1})
	if err != nil {
		b.t.Fatal(err)
	}
	return letters[0].ID
}

// Dead letters are listed, redriven and discarded, each decision with a reason that is kept.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ref := func() event.Ref { return event.Ref{Key: event.Key{ClaimID: uuid.New(), Version: 1}} }
	first, second := ref(), ref()
	redriven, discarded := b.park("m1", first, payment.ReasonFailed), b.park("m2", second, payment.ReasonConflict)
	nameless := b.park("m3", event.Ref{}, payment.ReasonMalformed)
	path := func(id int64, what string) string { return fmt.Sprint("/v1/dead-letters/", id, "/", what) }

	for body, status := range map[string]int{
		`{"reason": " "}`: 422, `{}`: 422, `{"raeson": "x"}`: 400, `not JSON`: 400, `{"reason": "x"} {}`: 400,
		`{"reason": "` + strings.Repeat("x", 501) + `"}`: 422, `{"reason": "a\u0000b"}`: 422, `{"reason": "x", "actor": "` + strings.Repeat("y", 101) + `"}`: 422,
		`{"Reason": "x"}`: 400, `{"reason": "x", "reason": "y"}`: 400, `{"reason": "x"}]`: 400, "{\"reason\": \"x\xff\"}": 400,
	} {
		b.want(b.send(http.MethodPost, path(redriven, "redrive"), body), status)
		b.want(b.send(http.MethodPost, path(discarded, "discard"), body), status)
	}
	refused := b.want(b.send(http.MethodPost, path(redriven, "redrive"), `{"reason": "x", "actor": "`+strings.Repeat("y", 101)+`"}`), 422)
	if !strings.Contains(refused.body, `"code":"actor"`) || strings.Contains(refused.body, `"reason"`) {
		t.Errorf("got %s, want the actor blamed alone", refused.body)
	}
	b.clock.add(time.Minute)
	got := decode[api.DeadLetter](t, b.want(b.send(http.MethodPost, path(redriven, "redrive"), `{"reason": "mended", "actor": "anna"}`), 200).body)
	same(t, "redriven", got, api.DeadLetter{
		ID: redriven, MessageID: "m1", ClaimID: first.ClaimID.String(), Version: 1, NetFee: "81.25", State: "redriven", Reason: "failed", Providers: []string{"1497775530"},
		Error: "constraint failed", Attempts: 8, ParkedAt: b.clock.now().Add(-time.Minute), ClosedBy: "anna", ClosedWhy: "mended",
		ClosedAt: b.clock.now(),
	})
	got = decode[api.DeadLetter](t, b.want(b.send(http.MethodPost, path(discarded, "discard"), `{"reason": "written off"}`), 200).body)
	if got.State != "discarded" || got.ClosedBy != "client 192.0.2.1" {
		t.Errorf("discarded: got %+v", got)
	}
	b.want(b.send(http.MethodPost, path(redriven, "discard"), `{"reason": "again"}`), 409)
	b.want(b.send(http.MethodPost, path(nameless, "redrive"), `{"reason": "x"}`), 409)
	b.want(b.send(http.MethodPost, path(999, "redrive"), `{"reason": "x"}`), 404)
	b.want(b.send(http.MethodPost, "/v1/dead-letters/x/redrive", `{"reason": "x"}`), 422)

	list := func(query string) string {
		var ids strings.Builder
		page := decode[api.DeadLetterPage](t, b.want(b.send(http.MethodGet, "/v1/dead-letters?"+query, ""), 200).body)
		for _, letter := range page.DeadLetters {
			ids.WriteString(letter.MessageID + " ")
		}
		return ids.String() + page.NextCursor
	}
	for query, want := range map[string]string{
		"": "m3 m2 m1 ", "state=open": "m3 ", "reason=conflict": "m2 ", "limit=1": fmt.Sprint("m3 ", nameless),
		fmt.Sprint("limit=5&cursor=", nameless): "m2 m1 ", "provider_npi=1497775530": "m3 m2 m1 ", "provider_npi=0000000006": "",
		"parked_from=2026-03-28T12:00:01Z": "", "parked_to=2026-03-29": "m3 m2 m1 ",
	} {
		same(t, query, list(query), want)
	}
	shown := decode[api.DeadLetterHistory](t, b.want(b.send(http.MethodGet, fmt.Sprint("/v1/dead-letters/", redriven), ""), 200).body)
	same(t, "history", shown.History, []api.LetterEntry{
		{DeadLetterID: redriven, Action: "parked", Actor: "payments", Reason: "constraint failed", At: b.clock.now().Add(-time.Minute)},
		{DeadLetterID: redriven, Action: "redriven", Actor: "anna", Reason: "mended", At: b.clock.now()},
	})
	same(t, "shown", shown.DeadLetter.MessageID, "m1")
	if got := b.want(b.send(http.MethodGet, "/v1/dead-letters/999", ""), 404); !strings.Contains(got.body, "no dead letter has this id") {
		t.Errorf("a dead letter that is not there: got %s", got.body)
	}
	b.want(b.send(http.MethodGet, "/v1/dead-letters/x", ""), 422)
	b.want(b.send(http.MethodGet, "/v1/dead-letters?state=closed", ""), 422)
}
