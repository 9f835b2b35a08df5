package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/claimrail/claimrail/internal/payment"
)

func letterStates() []string {
	return []string{
		string(payment.LetterOpen), string(payment.LetterRedriven), string(payment.LetterDiscarded), string(payment.LetterPaid),
	}
}

func letterReasons() []string {
	return []string{string(payment.ReasonMalformed), string(payment.ReasonConflict), string(payment.ReasonFailed)}
}

func (a *API) paymentRoutes() []route {
	letterID := param{in: inPath, name: "id", text: "Id of the dead letter", kind: "integer", example: 7}
	decision := &content{body: Decision{}, example: Decision{Reason: "provider was unknown, added", Actor: "night shift"}}
	return []route{
		{
			method: http.MethodGet, path: "/v1/payments/{claim_id}", id: "get-payment", tag: "payments",
			summary:     "Show a claim's payment",
			description: "Not found until payments has recorded it, which takes a moment after the claim was accepted.",
			params:      []param{claimID()},
			answers:     map[int]content{http.StatusOK: {text: "The payment", body: Payment{}}},
			faults:      []int{404, 422},
			handle:      a.getPayment,
		},
		{
			method: http.MethodGet, path: "/v1/dead-letters", id: "list-dead-letters", tag: "payments",
			summary: "List messages that could not be processed, the newest first",
			params: append(letterFilters(),
				param{in: inQuery, name: "limit", text: "Dead letters in a page", kind: "integer", example: defaultPage, least: 1, most: payment.MaxPage},
				param{in: inQuery, name: "cursor", text: "next_cursor of the page before"}),
			answers: map[int]content{http.StatusOK: {text: "A page", body: DeadLetterPage{}}},
			faults:  []int{422},
			handle:  a.listLetters,
		},
		{
			method: http.MethodGet, path: "/v1/dead-letters/{id}", id: "get-dead-letter", tag: "payments",
			summary:     "Show a dead letter, and who did what with it",
			description: "The history is that of all dead letters of its claim; it is added to and never changed.",
			params:      []param{letterID},
			answers:     map[int]content{http.StatusOK: {text: "The dead letter", body: DeadLetterHistory{}}},
			faults:      []int{404, 422},
			handle:      a.getLetter,
		},
		{
			method: http.MethodPost, path: "/v1/dead-letters/{id}/redrive", id: "redrive-dead-letter", tag: "payments",
			summary:     "Send the claim to payments again",
			description: "Harmless if the claim was paid meanwhile. The reason is kept.",
			params:      []param{letterID}, request: decision,
			answers: map[int]content{http.StatusOK: {text: "The dead letter, redriven", body: DeadLetter{}}},
			faults:  []int{400, 404, 409, 413, 415, 422},
			handle: func(w http.ResponseWriter, r *http.Request) error {
				return a.decide(w, r, a.Letters.Redrive)
			},
		},
		{
			method: http.MethodPost, path: "/v1/dead-letters/{id}/discard", id: "discard-dead-letter", tag: "payments",
			summary:     "Write the claim off",
			description: "It will never be paid, whatever copies of its message still come. The reason is kept.",
			params:      []param{letterID}, request: decision,
			answers: map[int]content{http.StatusOK: {text: "The dead letter, discarded", body: DeadLetter{}}},
			faults:  []int{400, 404, 409, 413, 415, 422},
			handle: func(w http.ResponseWriter, r *http.Request) error {
				return a.decide(w, r, a.Letters.Discard)
			},
		},
	}
}

// getPayment is GET /v1/payments/{claim_id}.
func (a *API) getPayment(w http.ResponseWriter, r *http.Request) error {
	id, err := claimIDOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	paid, err := a.Payments.Payment(ctx, id)
	if errors.Is(err, payment.ErrNotFound) {
		return newFault(http.StatusNotFound, "not-found", "no payment is recorded for this claim; see whether there is the claim, and its status")
	}
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewPayment(&paid))
}

// letterFilters are the parameters that letterFilter reads.
func letterFilters() []param {
	return []param{
		{in: inQuery, name: "state", text: "open: waits for a decision", oneOf: letterStates()},
		{in: inQuery, name: "reason", text: "Why it was parked", oneOf: letterReasons()},
		{in: inQuery, name: "provider_npi", text: "Dead letters whose message names this provider", example: "1497775530"},
		{in: inQuery, name: "parked_from", text: "Parked at this time or later", format: "date-time"},
		{in: inQuery, name: "parked_to", text: "Parked before this time", format: "date-time"},
	}
}

// letterFilter says which dead letters are wanted.
func (q *query) letterFilter() payment.LetterFilter {
	return payment.LetterFilter{
		State:       payment.LetterState(q.oneOf("state", letterStates())),
		Reason:      payment.Reason(q.oneOf("reason", letterReasons())),
		ProviderNPI: q.npiText("provider_npi"),
		From:        q.moment("parked_from"),
		To:          q.moment("parked_to"),
	}
}

// npiText gives an NPI as payments knows it, or "" where none was sent.
func (q *query) npiText(name string) string {
	if npi, sent := q.npi(name); sent {
		return npi.String()
	}
	return ""
}

// getLetter is GET /v1/dead-letters/{id}.
func (a *API) getLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := letterIDOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	letter, entries, err := a.Letters.Letter(ctx, id)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewDeadLetterHistory(&letter, entries))
}

// letterIDOf reads the id in the path.
func letterIDOf(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, newFault(http.StatusUnprocessableEntity, "invalid-id", "the id of a dead letter is a whole number; see GET /v1/dead-letters")
	}
	return id, nil
}

// listLetters is GET /v1/dead-letters.
func (a *API) listLetters(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r)
	filter := q.letterFilter()
	filter.Before = q.integer("cursor", 0, 1, math.MaxInt64)
	filter.Limit = int(q.integer("limit", defaultPage, 1, payment.MaxPage))
	if err := q.fault(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	letters, err := a.Letters.DeadLetters(ctx, filter)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewDeadLetterPage(letters, filter.Limit))
}

// NewDeadLetterPage gives a page of limit dead letters at most, and where the next begins.
func NewDeadLetterPage(letters []payment.DeadLetter, limit int) DeadLetterPage {
	page := DeadLetterPage{DeadLetters: make([]DeadLetter, len(letters))}
	for i := range letters {
		page.DeadLetters[i] = NewDeadLetter(&letters[i])
	}
	if len(letters) == limit {
		page.NextCursor = strconv.FormatInt(letters[len(letters)-1].ID, 10)
	}
	return page
}

// decide has an operator's decision carried out.
func (a *API) decide(w http.ResponseWriter, r *http.Request,
	carryOut func(context.Context, int64, payment.Decision) (payment.DeadLetter, error),
) error {
	id, err := letterIDOf(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r, nil)
	if err != nil {
		return err
	}
	said, err := readDecision(body)
	if err != nil {
		return err
	}
	if said.Actor == "" {
		said.Actor = "client " + clientOf(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	letter, err := carryOut(ctx, id, payment.Decision{Actor: said.Actor, Reason: said.Reason, At: a.Now()})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewDeadLetter(&letter))
}

// readDecision reads the body of a decision, as strictly as one of a claim: each name as it is written
// here, once, in UTF-8, and nothing behind it. Its texts are kept as they are sent, but for blanks around them.
func readDecision(body []byte) (said Decision, err error) {
	if err := json.Unmarshal(body, &said, json.RejectUnknownMembers(true)); err != nil {
		return said, newFault(http.StatusBadRequest, "syntax", `send a JSON object such as {"reason": "provider added", "actor": "night shift"}`)
	}
	said.Reason, said.Actor = strings.TrimSpace(said.Reason), strings.TrimSpace(said.Actor)
	refuse := func(field, message string) error {
		f := newFault(http.StatusUnprocessableEntity, field, message)
		f.items = []item{{place: []any{"body", field}, field: field, code: field, message: message}}
		return f
	}
	switch {
	case said.Reason == "" || len(said.Reason) > payment.MaxNote || strings.Contains(said.Reason, "\x00"):
		return said, refuse("reason", "say why, in 1 to 500 bytes without NUL; the reason is kept with the dead letter")
	case len(said.Actor) > payment.MaxActor || strings.Contains(said.Actor, "\x00"):
		return said, refuse("actor", "say who, in 100 bytes at most without NUL, or leave it out")
	default:
		return said, nil
	}
}
