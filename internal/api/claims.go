package api

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

// defaultPage is how many rows a page has where the client does not say.
const defaultPage = 50

func statuses() []string {
	return []string{string(store.InFlight), string(store.Settled), string(store.DeadLettered)}
}

func paymentStates() []string {
	return []string{
		string(store.PaymentPending), string(store.PaymentFailed), string(store.PaymentNotified),
		string(store.PaymentPaid), string(store.PaymentDeadLettered), string(store.PaymentDiscarded),
	}
}

func (a *API) claimRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/claims", id: "create-claim", tag: "claims",
			summary: "Send a claim",
			description: "One claim: an object with its lines, or just the list of lines. It is answered when it is committed. " +
				"A claim with an external_claim_id (or an Idempotency-Key) is stored once, however often it is sent; " +
				"another claim under the same name is refused. Of these the first that a claim has is its name, and the others say nothing: " +
				"external_claim_id, Idempotency-Key, and, of a file that is imported, the file's SHA-256 and the claim's first row.",
			params:  []param{idempotencyKey()},
			request: &content{body: ClaimInput{}, example: exampleClaim()},
			answers: map[int]content{
				http.StatusCreated: {text: "Stored", body: Claim{}},
				http.StatusOK:      {text: "Stored before: as it stands now", body: Claim{}},
			},
			faults: []int{400, 408, 409, 413, 415, 422},
			handle: a.createClaim,
		},
		{
			method: http.MethodGet, path: "/v1/claims", id: "list-claims", tag: "claims",
			summary: "List claims, the newest first",
			params: append(claimFilters(),
				param{in: inQuery, name: "limit", text: "Claims in a page", kind: "integer", example: defaultPage, least: 1, most: store.MaxPage},
				param{in: inQuery, name: "cursor", text: "next_cursor of the page before"}),
			answers: map[int]content{http.StatusOK: {text: "A page", body: ClaimPage{}}},
			faults:  []int{422},
			handle:  a.listClaims,
		},
		{
			method: http.MethodGet, path: "/v1/claims/{claim_id}", id: "get-claim", tag: "claims",
			summary: "Show a claim",
			params:  []param{claimID()},
			answers: map[int]content{http.StatusOK: {text: "The claim", body: Claim{}}},
			faults:  []int{404, 422},
			handle:  a.getClaim,
		},
	}
}

// claimFilters are the parameters that claimFilter reads.
func claimFilters() []param {
	return []param{
		{in: inQuery, name: "provider_npi", text: "Claims with at least one line of this provider", example: "1497775530"},
		{in: inQuery, name: "status", text: "Where the claim is", oneOf: statuses()},
		{in: inQuery, name: "payment_state", text: "The same in more detail", oneOf: paymentStates()},
		{in: inQuery, name: "received_from", text: "Received at this time or later", format: "date-time"},
		{in: inQuery, name: "received_to", text: "Received before this time", format: "date-time"},
	}
}

// claimFilter says which claims are wanted.
func (q *query) claimFilter() store.Filter {
	filter := store.Filter{
		Status:       store.Status(q.oneOf("status", statuses())),
		PaymentState: store.PaymentState(q.oneOf("payment_state", paymentStates())),
		From:         q.moment("received_from"),
		To:           q.moment("received_to"),
	}
	filter.ProviderNPI, filter.HasNPI = q.npi("provider_npi")
	return filter
}

func claimID() param {
	return param{in: inPath, name: "claim_id", text: "Id of the claim", format: "uuid", example: "0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"}
}

// claimIDOf reads the id in the path.
func claimIDOf(r *http.Request) (uuid.UUID, error) {
	text := r.PathValue("claim_id")
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		f := newFault(http.StatusUnprocessableEntity, "invalid-id", "a claim id is a UUID, as the answer to the claim gave it")
		f.items = []item{{place: []any{inPath, "claim_id"}, field: "claim_id", code: "invalid-id", message: f.detail}}
		return uuid.Nil, f
	}
	return id, nil
}

// createClaim is POST /v1/claims.
func (a *API) createClaim(w http.ResponseWriter, r *http.Request) error {
	d := a.takeDesk()
	defer a.giveDesk(d)
	if err := d.read(w, r); err != nil {
		return err
	}
	draft, err := d.json.ReadClaim(d.body)
	if err != nil {
		return err
	}
	c, outcome, err := a.accept(r, draft)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/claims/"+c.ID.String())
	if !outcome.Existing {
		return reply(w, http.StatusCreated, newAccepted(c, outcome))
	}
	return a.showClaim(w, r, c.ID)
}

// getClaim is GET /v1/claims/{claim_id}.
func (a *API) getClaim(w http.ResponseWriter, r *http.Request) error {
	id, err := claimIDOf(r)
	if err != nil {
		return err
	}
	return a.showClaim(w, r, id)
}

func (a *API) showClaim(w http.ResponseWriter, r *http.Request, id uuid.UUID) error {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	record, err := a.Claims.Claim(ctx, id)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewClaim(&record))
}

// listClaims is GET /v1/claims.
func (a *API) listClaims(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r)
	filter := q.claimFilter()
	filter.Before = q.integer("cursor", 0, 1, math.MaxInt64)
	filter.Limit = int(q.integer("limit", defaultPage, 1, store.MaxPage))
	if err := q.fault(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	found, err := a.Claims.Claims(ctx, filter)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewClaimPage(found, filter.Limit))
}

// NewClaimPage gives a page of limit claims at most, and where the next begins. A full page
// may be the last, so that the next may be empty.
func NewClaimPage(found []store.Summary, limit int) ClaimPage {
	page := ClaimPage{Claims: make([]ClaimSummary, len(found))}
	for i := range found {
		page.Claims[i] = NewClaimSummary(&found[i])
	}
	if len(found) == limit {
		page.NextCursor = strconv.FormatInt(found[len(found)-1].Cursor, 10)
	}
	return page
}
