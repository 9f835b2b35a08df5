package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of a request to a server.
const (
	remoteTimeout  = 30 * time.Second // longer than the server's own, so that its word is heard
	maxAnswerBytes = 16 << 20         // a page of 200 claims has about 200 KiB
)

// remote is the system behind a server. All methods may be called at once.
type remote struct {
	server *url.URL
	client *http.Client
	stall  time.Duration // maxStall, but in tests
}

var _ system = (*remote)(nil)

func newRemote(server string) (*remote, error) {
	parsed, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	return &remote{server: parsed, stall: maxStall, client: &http.Client{
		Timeout: remoteTimeout,
		// A redirect would send a claim, or a password, to where nobody asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (r *remote) close() error {
	r.client.CloseIdleConnections()
	return nil
}

// TopProviders implements system.
func (r *remote) TopProviders(ctx context.Context, limit int) (ranking []api.RankedProvider, err error) {
	err = r.get(ctx, url.Values{"limit": {strconv.Itoa(limit)}}, &ranking, "top-providers")
	return ranking, err
}

// Claims implements system.
func (r *remote) Claims(ctx context.Context, filter store.Filter) (page api.ClaimPage, err error) {
	query := claimQuery(&filter)
	query.Set("limit", strconv.Itoa(filter.Limit))
	if filter.Before > 0 {
		query.Set("cursor", strconv.FormatInt(filter.Before, 10))
	}
	err = r.get(ctx, query, &page, "v1", "claims")
	return page, err
}

// claimQuery gives the parameters that select claims.
func claimQuery(filter *store.Filter) url.Values {
	query := url.Values{}
	if filter.HasNPI {
		query.Set("provider_npi", filter.ProviderNPI.String())
	}
	if filter.Status != "" {
		query.Set("status", string(filter.Status))
	}
	if filter.PaymentState != "" {
		query.Set("payment_state", string(filter.PaymentState))
	}
	setMoment(query, "received_from", filter.From)
	setMoment(query, "received_to", filter.To)
	return query
}

// Claim implements system.
func (r *remote) Claim(ctx context.Context, id uuid.UUID) (c api.Claim, err error) {
	err = r.get(ctx, nil, &c, "v1", "claims", id.String())
	return c, err
}

// Payment implements system.
func (r *remote) Payment(ctx context.Context, claimID uuid.UUID) (paid api.Payment, err error) {
	err = r.get(ctx, nil, &paid, "v1", "payments", claimID.String())
	return paid, err
}

// DeadLetters implements system.
func (r *remote) DeadLetters(ctx context.Context, filter payment.LetterFilter) (page api.DeadLetterPage, err error) {
	query := letterQuery(&filter)
	query.Set("limit", strconv.Itoa(filter.Limit))
	if filter.Before > 0 {
		query.Set("cursor", strconv.FormatInt(filter.Before, 10))
	}
	err = r.get(ctx, query, &page, "v1", "dead-letters")
	return page, err
}

// letterQuery gives the parameters that select dead letters.
func letterQuery(filter *payment.LetterFilter) url.Values {
	query := url.Values{}
	if filter.State != "" {
		query.Set("state", string(filter.State))
	}
	if filter.Reason != "" {
		query.Set("reason", string(filter.Reason))
	}
	if filter.ProviderNPI != "" {
		query.Set("provider_npi", filter.ProviderNPI)
	}
	setMoment(query, "parked_from", filter.From)
	setMoment(query, "parked_to", filter.To)
	return query
}

// setMoment sets a parameter to a time, unless it is zero.
func setMoment(query url.Values, name string, at time.Time) {
	if !at.IsZero() {
		query.Set(name, at.Format(time.RFC3339Nano))
	}
}

// DeadLetter implements system.
func (r *remote) DeadLetter(ctx context.Context, id int64) (letter api.DeadLetterHistory, err error) {
	err = r.get(ctx, nil, &letter, "v1", "dead-letters", strconv.FormatInt(id, 10))
	return letter, err
}

// Redrive implements system.
func (r *remote) Redrive(ctx context.Context, id int64, decision api.Decision) (letter api.DeadLetter, err error) {
	err = r.post(ctx, decision, &letter, "v1", "dead-letters", strconv.FormatInt(id, 10), "redrive")
	return letter, err
}

// Discard implements system.
func (r *remote) Discard(ctx context.Context, id int64, decision api.Decision) (letter api.DeadLetter, err error) {
	err = r.post(ctx, decision, &letter, "v1", "dead-letters", strconv.FormatInt(id, 10), "discard")
	return letter, err
}

func (r *remote) get(ctx context.Context, query url.Values, into any, path ...string) error {
	target := r.server.JoinPath(path...)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return errors.New("make request: the URL of --server can not be used")
	}
	return r.do(request, into)
}

func (r *remote) post(ctx context.Context, body, into any, path ...string) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.JoinPath(path...).String(), bytes.NewReader(text))
	if err != nil {
		return errors.New("make request: the URL of --server can not be used")
	}
	request.Header.Set("Content-Type", "application/json")
	return r.do(request, into)
}

// do sends a request and reads the answer into a body of the API.
func (r *remote) do(request *http.Request, into any) error {
	return r.doWith(r.client, request, into)
}

func (r *remote) doWith(client *http.Client, request *http.Request, into any) error {
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return r.unreachable(causeOf(request.Context(), err))
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	if err != nil {
		return r.unreachable(causeOf(request.Context(), err))
	}
	if len(text) > maxAnswerBytes {
		return fmt.Errorf("answer of %s: longer than %d bytes", r.server.Redacted(), maxAnswerBytes)
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusAccepted {
		return r.refusal(answer, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return hint(fmt.Errorf("answer of %s: not that of claimrail", r.server.Redacted()), "is --server the URL of 'claimrail serve'?")
	}
	return nil
}

// unreachable says that a server gave no answer.
func (r *remote) unreachable(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it repeats the URL
	}
	err = fmt.Errorf("ask %s: %w", r.server.Redacted(), err)
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return hint(err, "is the server running? start it with 'claimrail serve'")
	}
	return err
}

// refusedError is what a server answered instead of a result.
type refusedError struct {
	api.Problem
	kind error // what a local system says of the same; nil where there is no such kind
}

func (e *refusedError) Error() string {
	var text strings.Builder
	text.WriteString(fmt.Sprintf("%s (%s)", e.Detail, e.Code))
	for _, one := range e.Errors {
		text.WriteString("\n  ")
		if one.Field != "" {
			text.WriteString(one.Field + ": ")
		}
		text.WriteString(one.Message)
	}
	return text.String()
}

func (e *refusedError) Unwrap() error { return e.kind }

// refusal reads a problem document, or the error of one of the brief's endpoints.
func (r *remote) refusal(answer *http.Response, text []byte) error {
	refused := &refusedError{}
	if err := json.Unmarshal(text, &refused.Problem); err != nil || refused.Code == "" {
		var brief api.BriefFault
		if err := json.Unmarshal(text, &brief); err != nil || len(brief.Detail.Errors) == 0 {
			return hint(fmt.Errorf("%s answers %s, which is not an answer of claimrail", r.server.Redacted(), answer.Status),
				"is --server the URL of 'claimrail serve'?")
		}
		first := brief.Detail.Errors[0]
		refused.Problem = api.Problem{Status: answer.StatusCode, Detail: first.Msg, Code: first.Code}
	}
	switch refused.Code {
	case "no-such-claim":
		refused.kind = store.ErrNotFound
	case "not-found":
		refused.kind = payment.ErrNotFound
	case "closed":
		refused.kind = payment.ErrClosed
	case "no-claim":
		refused.kind = payment.ErrNoClaim
	case "paid":
		refused.kind = payment.ErrPaid
	case "other-claim":
		refused.kind = store.ErrOtherClaim
	}
	if wait := answer.Header.Get("Retry-After"); wait != "" {
		return hint(refused, "try again in %s seconds", wait)
	}
	return refused
}
