package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/store"
)

// submitter answers every claim alike.
type submitter struct {
	outcome store.Outcome
	err     error
	entered chan struct{} // if set, a signal of each claim
	release chan struct{} // if set, is waited for
}

func (s submitter) Submit(context.Context, store.Submission) (store.Outcome, error) {
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.release
	}
	return s.outcome, s.err
}

// Errors of the stations get the status of the one table; what is unknown is opaque, and
// its id is in the log; 503 always says when to try again.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"unavailable": {fmt.Errorf("write: %w", store.ErrUnavailable), 503},
		"unknown":     {fmt.Errorf("write: %w", store.ErrUnknownOutcome), 503},
		"too late":    {context.DeadlineExceeded, 503},
		"defect":      {errors.New("secret detail"), 500},
	} {
		b := setup(t, func(config *api.Config) { config.Submitter = submitter{err: c.err} })
		for _, path := range []string{"/claim-process", "/v1/claims"} {
			got := b.want(b.send(http.MethodPost, path, "["+line()+"]"), c.status)
			if strings.Contains(got.body, "secret") {
				t.Errorf("%s: the client is shown %s", name, got.body)
			}
			if c.status == 503 && got.header.Get("Retry-After") != "1" {
				t.Errorf("%s: got Retry-After %q, want 1", name, got.header.Get("Retry-After"))
			}
		}
		if c.status == 500 {
			got := decode[api.Problem](t, b.send(http.MethodPost, "/v1/claims", "["+line()+"]").body)
			id := strings.TrimPrefix(got.Instance, "urn:uuid:")
			if id == "" || !strings.Contains(b.log.String(), id) || !strings.Contains(b.log.String(), "secret detail") {
				t.Errorf("the log has not id %q and the cause: %s", id, b.log)
			}
		}
	}
}

// panicker panics with health data in its value.
type panicker struct{}

func (panicker) Submit(_ context.Context, s store.Submission) (store.Outcome, error) {
	panic(s.Claim.Lines[0].SubscriberNumber.Reveal())
}

// A panic is an opaque 500; its value, which might be health data, is not logged.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := setup(t, func(config *api.Config) { config.Submitter = panicker{} })
	got := b.want(b.send(http.MethodPost, "/v1/claims", "["+line()+"]"), 500)
	if strings.Contains(got.body+b.log.String(), "3730189502") {
		t.Errorf("the subscriber number is in %s or in the log:\n%s", got.body, b.log)
	}
	if !strings.Contains(b.log.String(), "limits_test.go") {
		t.Errorf("the stack is not in the log: %s", b.log)
	}
}

// Requests beyond those that can be worked on at once are refused with 503 and
// Retry-After, probes excepted, and are taken again once there is room.
func TestInFlight(t *testing.T) {
	t.Parallel()
	slow := submitter{entered: make(chan struct{}), release: make(chan struct{})}
	b := setup(t, func(config *api.Config) { config.Submitter = slow })
	var waiting sync.WaitGroup
	const places = 512
	for range places {
		waiting.Go(func() { b.send(http.MethodPost, "/claim-process", "["+line()+"]") })
		<-slow.entered
	}
	for _, path := range []string{"/top-providers", "/v1/claims"} {
		got := b.want(b.send(http.MethodGet, path, ""), 503)
		if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"code":"busy"`) {
			t.Errorf("%s: got %v %s", path, got.header, got.body)
		}
	}
	b.want(b.send(http.MethodGet, "/healthz", ""), 200)
	b.want(b.send(http.MethodGet, "/readyz", ""), 200)
	close(slow.release)
	waiting.Wait()
	b.want(b.send(http.MethodGet, "/v1/claims", ""), 200)
}

// Health data of a refused or stored claim shows in no log, and in no answer to anything
// but the claim itself.
func TestPHIStaysInside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const subscriber, date = "TELLTALE77", "1977-07-17"
	secret := []string{`"subscriber_number": "` + subscriber + `"`, `"service_date": "` + date + ` 07:17"`}
	b.want(b.send(http.MethodPost, "/v1/claims", claimOf("C-1", line(secret...))), 201)
	var shown bytes.Buffer
	for _, body := range []string{
		claimOf("C-1", line(append(secret, `"provider_fees": 1`)...)),                   // another claim
		claimOf("C-2", line(append(secret, `"provider_npi": 1`)...)),                    // a broken rule
		claimOf("C-2", line(`"subscriber_number": "`+subscriber+`\u0000"`)),             // in the field itself
		claimOf("C-2", line(`"service_date": "`+date+`x"`)),                             // likewise
		claimOf("C-2", line(secret...)) + "}",                                           // no JSON
		`[{"subscriber_number": "` + subscriber + `", "service_date": "` + date + `", `, // cut off
	} {
		got := b.send(http.MethodPost, "/v1/claims", body)
		if got.status < 400 {
			t.Fatalf("got %d for %s", got.status, body)
		}
		shown.WriteString(got.body)
	}
	for _, path := range []string{"/v1/claims", "/top-providers", "/v1/dead-letters", "/readyz"} {
		shown.WriteString(b.send(http.MethodGet, path, "").body)
	}
	for place, text := range map[string]string{"an answer": shown.String(), "the log": b.log.String()} {
		if strings.Contains(text, subscriber) || strings.Contains(text, date) {
			t.Errorf("health data is in %s: %s", place, text)
		}
	}
}

// start serves the API on loopback until the test ends.
func (b *bench) start() string {
	b.t.Helper()
	listener, err := new(net.ListenConfig).Listen(b.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, listener, b.api, 0, slog.New(slog.DiscardHandler)) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			b.t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// A sender that stops in the middle of its header is cut off, one that stops in the middle of
// its body is told so and cut off; both after five seconds or a little more. One that pauses
// between two requests for longer than a body may take keeps its connection.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	address := setup(t).start()
	var slow sync.WaitGroup
	slow.Go(func() {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, "POST /claim-process HTTP/1.1\r\nHost: x\r\n")
		if text, err := io.ReadAll(conn); err != nil {
			t.Errorf("half a header: got %q, %v, want the end of the connection", text, err)
		}
	})
	slow.Go(func() {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, "POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[")
		text, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 408 ")) || !bytes.Contains(text, []byte("slow-body")) {
			t.Errorf("half a body: got %q, %v, want 408 and the end of the connection", text, err)
		}
	})
	slow.Go(func() {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, "POST /v1/claims HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n[")
		if text, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 415 ")) {
			t.Errorf("half a body that nobody reads: got %q, %v, want 415 and the end of the connection", text, err)
		}
	})
	slow.Go(func() {
		conn := dial(t, address)
		reader := bufio.NewReader(conn)
		for i := range 2 {
			if i > 0 {
				<-time.After(7 * time.Second) // what is tested is this pause
			}
			_, _ = io.WriteString(conn, "POST /claim-process HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]")
			answer, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Errorf("request %d on a connection kept alive: %v", i, err)
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	})
	slow.Wait()
}

// A header that is too large is refused.
func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	conn := dial(t, setup(t).start())
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 32<<10)+"\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s, want 431", answer.Status)
	}
}

// The specification is made of the routes, and its own examples are claims that are taken.
func TestSpecification(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.want(b.send(http.MethodGet, "/openapi.json", ""), 200)
	type body struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
		} `json:"content"`
	}
	spec := decode[struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string          `json:"operationId"`
			RequestBody body            `json:"requestBody"`
			Responses   map[string]body `json:"responses"`
		} `json:"paths"`
	}](t, got.body)
	if !strings.HasPrefix(spec.OpenAPI, "3.1") {
		t.Errorf("got OpenAPI %q, want 3.1", spec.OpenAPI)
	}
	for path, methods := range map[string]string{
		"/claim-process": "post", "/top-providers": "get", "/v1/claims": "get post", "/v1/claims/{claim_id}": "get",
		"/v1/payments/{claim_id}": "get", "/v1/dead-letters": "get", "/v1/dead-letters/{id}/redrive": "post",
		"/v1/dead-letters/{id}/discard": "post", "/v1/export/claims": "get", "/v1/export/payments": "get",
		"/v1/export/dead-letters": "get", "/v1/dead-letters/{id}": "get", "/v1/imports": "get", "/v1/imports/{import_id}/rejects": "get", "/healthz": "get", "/readyz": "get",
	} {
		for method := range strings.FieldsSeq(methods) {
			operation, ok := spec.Paths[path][method]
			if !ok || operation.OperationID == "" || len(operation.Responses) == 0 {
				t.Errorf("%s %s is not described", method, path)
			}
			if example := operation.RequestBody.Content["application/json"].Example; method == "post" && !strings.Contains(path, "{") {
				if answer := b.send(http.MethodPost, path, string(example)); answer.status >= 300 {
					t.Errorf("%s: the example is refused: %s", path, answer.body)
				}
			}
		}
	}
}

// A probe that fails makes the service not ready, by name, and not dead.
func TestReadiness(t *testing.T) {
	t.Parallel()
	b := setup(t, func(config *api.Config) {
		config.Probes = append(config.Probes, api.Probe{Name: "broker", Check: func(context.Context) error { return errors.New("away") }})
	})
	got := decode[api.Health](t, b.want(b.send(http.MethodGet, "/readyz", ""), 503).body)
	same(t, "health", got, api.Health{Status: "not ready", Checks: map[string]string{
		"claims_database": "ok", "payments_database": "ok", "broker": "unavailable",
	}})
	b.want(b.send(http.MethodGet, "/healthz", ""), 200)
}

// Payments alone answers for payments and dead letters, and knows no claims.
func TestPaymentsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, func(config *api.Config) {
		config.Validator, config.Submitter, config.Claims, config.Limiter = nil, nil, nil, nil
	})
	b.want(b.send(http.MethodGet, "/v1/dead-letters", ""), 200)
	b.want(b.send(http.MethodGet, "/v1/export/payments", ""), 200)
	b.want(b.send(http.MethodGet, "/v1/export/claims", ""), 404)
	b.want(b.send(http.MethodGet, "/readyz", ""), 200)
	b.want(b.send(http.MethodPost, "/v1/claims", "["+line()+"]"), 404)
	b.want(b.send(http.MethodGet, "/top-providers", ""), 404)
	if spec := b.send(http.MethodGet, "/openapi.json", "").body; strings.Contains(spec, "claim-process") || !strings.Contains(spec, "dead-letters") {
		t.Errorf("the specification is not that of payments alone: %.200s", spec)
	}
}
