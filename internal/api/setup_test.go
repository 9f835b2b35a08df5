package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// bench is the API over real databases, with a clock that the test moves. Nothing is
// delivered: payments and dead letters are put into the ledger by the test.
type bench struct {
	t      testing.TB
	claims *sqlitestore.Store
	ledger *sqliteledger.Ledger
	config api.Config
	clock  *clock
	log    *bytes.Buffer // all that was logged, debug included
	api    http.Handler
}

// clock is a time that only the test changes.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// deaf takes hints and tells nobody.
type deaf struct{}

func (deaf) Hint(context.Context, event.Answer) error { return nil }

// lockedBuffer is a log that several goroutines may write to.
type lockedBuffer struct {
	mu sync.Mutex
	to *bytes.Buffer
}

func (l *lockedBuffer) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(text)
}

func setup(t testing.TB, changes ...func(*api.Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: &clock{at: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(&lockedBuffer{to: b.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	folder := t.TempDir()
	var err error
	if b.claims, err = sqlitestore.Open(t.Context(), filepath.Join(folder, "claims.db"), logger); err != nil {
		t.Fatal(err)
	}
	if b.ledger, err = sqliteledger.Open(t.Context(), filepath.Join(folder, "payments.db"), logger); err != nil {
		t.Fatal(err)
	}
	committer := store.NewCommitter(b.claims, b.clock.now, logger)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = committer.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		_ = b.claims.Close()
		_ = b.ledger.Close()
	})
	secret, err := b.claims.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.config = api.Config{
		Validator: &claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(secret), Now: b.clock.now},
		Submitter: committer, Claims: b.claims, Limiter: b.claims, Payments: b.ledger,
		Letters:               desk{&payment.Desk{Ledger: b.ledger, Hinter: deaf{}, Stats: &payment.Stats{}}, b.ledger},
		Probes:                []api.Probe{{Name: "claims_database", Check: b.claims.Ping}, {Name: "payments_database", Check: b.ledger.Ping}},
		Metrics:               http.NotFoundHandler(),
		Observe:               func(string, string, int, time.Duration) {},
		TopProvidersPerMinute: 10, Now: b.clock.now, Logger: logger, Version: "test",
	}
	b.config.Imports = bulk.NewDesk(b.claims, committer, b.config.Validator, b.clock.now, logger)
	for _, change := range changes {
		change(&b.config)
	}
	b.api = api.New(b.config)
	return b
}

type desk struct {
	*payment.Desk
	ledger payment.Ledger
}

func (d desk) Letter(ctx context.Context, id int64) (payment.DeadLetter, []payment.Entry, error) {
	return d.ledger.Letter(ctx, id)
}

func (d desk) DeadLetters(ctx context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error) {
	return d.ledger.DeadLetters(ctx, filter)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request from an address; header is "Name: value" each.
func (b *bench) send(method, path, body string, header ...string) answer {
	b.t.Helper()
	return b.sendFrom("192.0.2.1:4711", method, path, body, header...)
}

func (b *bench) sendFrom(address, method, path, body string, header ...string) answer {
	b.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, reader)
	r.RemoteAddr = address
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	b.api.ServeHTTP(recorder, r)
	return answer{recorder.Code, recorder.Header(), recorder.Body.String()}
}

// want reports a status that is not the one wanted, with the body that says why.
func (b *bench) want(got answer, status int) answer {
	b.t.Helper()
	if got.status != status {
		b.t.Fatalf("got %d, want %d: %s", got.status, status, got.body)
	}
	return got
}

// decode reads a JSON body.
func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var into T
	if err := json.Unmarshal([]byte(text), &into); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return into
}

// same reports a difference.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: want -, got +:\n%s", what, diff)
	}
}

// stored counts the claims.
func (b *bench) stored() int {
	b.t.Helper()
	found, err := b.claims.Claims(b.t.Context(), store.Filter{Limit: store.MaxPage})
	if err != nil {
		b.t.Fatal(err)
	}
	return len(found)
}

// line gives one line, whose net fee is 81.25, with changes such as `"quadrant": "UR"`.
func line(changes ...string) string {
	fields := map[string]json.RawMessage{}
	for _, text := range append([]string{
		`"service_date": "3/28/18 0:00"`, `"submitted_procedure": "D4346"`, `"quadrant": null`, `"plan_group_number": "GRP-1000"`,
		`"subscriber_number": "3730189502"`, `"provider_npi": "1497775530"`, `"provider_fees": "$130.00 "`, `"allowed_fees": "$65.00 "`,
		`"member_coinsurance": "$16.25 "`, `"member_copay": "$0.00 "`,
	}, changes...) {
		name, value, _ := strings.Cut(text, ": ")
		fields[strings.Trim(name, `"`)] = json.RawMessage(value)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(text)
}
