package api

import (
	"context"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// rateWindow is the window in which requests for the ranking are counted.
const rateWindow = time.Minute

// defaultTop is how many providers are ranked where the client does not say.
const defaultTop = 10

func (a *API) briefRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/claim-process", id: "process-claim", tag: "brief", brief: true,
			summary: "Process a claim",
			description: "The body is a list of lines: one claim. It is stored whole, or, if anything is wrong with any line, not at all. " +
				"Names of fields may be written freely (\"Plan/Group #\", \"Subscriber#\", \"Provider_NPI\"). An empty list stores nothing. " +
				"With an Idempotency-Key the same claim, sent again, is stored once and answered as before. " +
				"Warnings have no place in the answer: GET /v1/claims/{unique_claim_id} has those of a claim that is stored.",
			params:  []param{idempotencyKey()},
			request: &content{body: []LineInput{}, example: exampleLines()},
			answers: map[int]content{http.StatusOK: {text: "The lines as stored, in order", body: []ProcessedLine{}}},
			faults:  []int{400, 408, 413, 415, 422},
			handle:  a.processClaim,
		},
		{
			method: http.MethodGet, path: "/top-providers", id: "top-providers", tag: "brief", brief: true,
			summary: "Rank providers by total net fee",
			description: "Descending; equal totals rank by NPI, ascending. One client (its address) may ask " +
				"a limited number of times in any 60 seconds; RateLimit-* headers tell how it stands.",
			params: []param{{
				in: inQuery, name: "limit", text: "How many providers", kind: "integer", example: defaultTop, least: 1, most: store.MaxTop,
			}},
			answers: map[int]content{http.StatusOK: {text: "The ranking; empty if nothing is stored", body: []RankedProvider{}}},
			faults:  []int{422, 429},
			handle:  a.topProviders,
		},
	}
}

// processClaim is POST /claim-process.
func (a *API) processClaim(w http.ResponseWriter, r *http.Request) error {
	d := a.takeDesk()
	defer a.giveDesk(d)
	if err := d.read(w, r); err != nil {
		return err
	}
	draft, err := d.json.ReadLines(d.body)
	if err != nil {
		return err
	}
	if len(draft.Lines) == 0 {
		return reply(w, http.StatusOK, []ProcessedLine{})
	}
	c, outcome, err := a.accept(r, draft)
	if err != nil {
		return err
	}
	d.answer = appendProcessedLines(d.answer[:0], c, outcome.FirstLineID)
	w.Header().Set("Content-Length", strconv.Itoa(len(d.answer)))
	replyText(w, http.StatusOK, d.answer)
	return nil
}

// accept validates a draft, completed by what the request's headers say, and has it
// committed.
func (a *API) accept(r *http.Request, draft *claim.Draft) (*claim.Claim, store.Outcome, error) {
	key, err := idempotencyKeyOf(r.Header)
	if err != nil {
		return nil, store.Outcome{}, err
	}
	draft.IdempotencyKey = key
	c, violations := a.Validator.Validate(draft)
	if c == nil {
		return nil, store.Outcome{}, invalid(violations)
	}
	ctx, cancel := context.WithTimeout(r.Context(), submitTimeout)
	defer cancel()
	outcome, err := a.Submitter.Submit(ctx, store.Submission{Claim: c, Traceparent: traceparent(r.Header)})
	return c, outcome, err
}

// topProviders is GET /top-providers.
func (a *API) topProviders(w http.ResponseWriter, r *http.Request) error {
	if err := a.takeRate(w, r); err != nil {
		return err
	}
	q := newQuery(r)
	limit := q.integer("limit", defaultTop, 1, store.MaxTop)
	if err := q.fault(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	totals, err := a.Claims.TopProviders(ctx, int(limit))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewRanking(totals))
}

// takeRate counts the request against its client's limit, and says in headers how the
// client stands. The count is kept in the claims database, for all instances; a client that is
// known to be over its limit is refused without asking.
func (a *API) takeRate(w http.ResponseWriter, r *http.Request) error {
	client, now := clientOf(r), a.Now()
	rate, refused := a.refused.find(client, now)
	if !refused {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		var err error
		rate, err = a.Limiter.Take(ctx, client, a.TopProvidersPerMinute, rateWindow, now)
		if err != nil {
			return err
		}
		a.refused.note(client, rate, now)
	}
	header := w.Header()
	header.Set("RateLimit-Limit", strconv.Itoa(a.TopProvidersPerMinute))
	header.Set("RateLimit-Remaining", strconv.Itoa(rate.Remaining))
	header.Set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(rate.Reset.Seconds()))))
	if rate.Allowed {
		return nil
	}
	f := newFault(http.StatusTooManyRequests, "rate-limit",
		"at most "+strconv.Itoa(a.TopProvidersPerMinute)+" requests in any 60 seconds; wait as Retry-After says")
	f.retryAfter = max(rate.RetryAfter, time.Second)
	return f
}

// clientOf names the client of a request: its address, without the port. Headers that
// proxies set are not believed, for anybody can set them.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
