package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// ExportClaims implements system.
func (r *remote) ExportClaims(ctx context.Context, to io.Writer, format export.Format, filter store.Filter) error {
	return r.export(ctx, to, format, claimQuery(&filter), "claims")
}

// ExportPayments implements system.
func (r *remote) ExportPayments(ctx context.Context, to io.Writer, format export.Format, filter payment.PaymentFilter) error {
	query := url.Values{}
	if filter.ProviderNPI != "" {
		query.Set("provider_npi", filter.ProviderNPI)
	}
	setMoment(query, "recorded_from", filter.From)
	setMoment(query, "recorded_to", filter.To)
	return r.export(ctx, to, format, query, "payments")
}

// ExportDeadLetters implements system.
func (r *remote) ExportDeadLetters(ctx context.Context, to io.Writer, format export.Format, filter payment.LetterFilter) error {
	return r.export(ctx, to, format, letterQuery(&filter), "dead-letters")
}

// export downloads an export.
func (r *remote) export(ctx context.Context, to io.Writer, format export.Format, query url.Values, things string) error {
	query.Set("format", string(format))
	return r.download(ctx, to, format.ContentType(), query, "v1", "export", things)
}

// download writes the body of an answer, which may be of any length and take any time, as
// long as it moves. That it ends early is an error.
func (r *remote) download(ctx context.Context, to io.Writer, kind string, query url.Values, path ...string) error {
	ctx, stall := watchStall(ctx, r.stall)
	defer stall.close()
	target := r.server.JoinPath(path...)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return errors.New("make request: the URL of --server can not be used")
	}
	answer, err := (&http.Client{Transport: r.client.Transport, CheckRedirect: r.client.CheckRedirect}).Do(request)
	if err != nil {
		return r.unreachable(causeOf(ctx, err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
		if err != nil {
			return r.unreachable(causeOf(ctx, err))
		}
		return r.refusal(answer, text)
	}
	if answer.Header.Get("Content-Type") != kind {
		return hint(fmt.Errorf("answer of %s: not that of claimrail", r.server.Redacted()), "is --server the URL of 'claimrail serve'?")
	}
	body := &watchedReader{from: answer.Body, stall: stall}
	if _, err := io.Copy(to, body); err != nil {
		if body.err == nil {
			return err // of to
		}
		return hint(fmt.Errorf("%s ended the download before its end: %w", r.server.Redacted(), causeOf(ctx, err)), "try again; its log says what happened")
	}
	return nil
}
