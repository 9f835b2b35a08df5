package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// fewSlots is how many connections the server of TestPostgresAway takes: enough for one
// process of each role.
const fewSlots = 30

// While Postgres is stopped, and while others have all of its connections, every request
// that needs it is answered with 503 and a time to come again, the processes say that they
// are not ready, and live on; when it is back they go on by themselves, and nothing that
// was acknowledged is lost.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	f := newFleet(t, 1, fmt.Sprint("max_connections=", fewSlots))
	h := newHistory()
	before := f.claims[0].accept(h, randomForm(random, "before"))
	f.settled()
	slots := newSlots(f)
	processes := []*server{f.claims[0].server, f.payments[0].server}
	var waiting []form
	for _, tt := range []struct {
		name     string
		down, up func()
	}{
		{"stopped", func() { f.postgres.Stop(t) }, func() { f.postgres.Start(t) }},
		{"full", slots.take, slots.leave},
	} {
		tt.down()
		f.claims[0].wantUnready("claims_database")
		f.payments[0].wantUnready("payments_database")
		for _, path := range []string{"/v1/claims/" + before, "/v1/claims", "/v1/payments/" + before, "/v1/dead-letters", "/top-providers"} {
			f.claims[0].wantComeAgain(path)
		}
		for n := range 4 { // through both endpoints, most likely
			one := randomForm(random, fmt.Sprint(tt.name, n))
			waiting = append(waiting, one)
			if a, v := f.claims[0].attempt(h, one); a.status != http.StatusServiceUnavailable || v == acknowledged {
				t.Errorf("Postgres %s: claim %d: got %d %s, want 503", tt.name, n, a.status, a.body)
			}
		}
		tt.up()
		for _, i := range f.all() {
			i.until(i.name+" is ready again", startTimeout, func() bool { return i.get("/readyz").status == http.StatusOK })
		}
	}
	for _, one := range waiting {
		f.claims[0].accept(h, one)
	}
	if f.claims[0].server != processes[0] || f.payments[0].server != processes[1] {
		t.Error("the processes are others")
	}
	if report := f.finish(h); report.Settled != 1+len(waiting) {
		t.Errorf("got %d claims settled, want %d", report.Settled, 1+len(waiting))
	}
}

// slots takes the connections of a Postgres server away from those who use it.
type slots struct {
	*fleet
	url   string
	owner *pgx.Conn // has one of the connections as well, all the time
	held  []*pgx.Conn
}

func newSlots(f *fleet) *slots {
	f.Helper()
	pgtest.Exec(f, f.owner, "CREATE ROLE neighbour LOGIN")
	return &slots{fleet: f, url: f.as("neighbour")}
}

// take cuts the connections of the fleet and makes others, until these are all that the server
// has for others than its owner. That they are refused more does not say so: who else is
// just refused, or just ends, has a connection too.
func (s *slots) take() {
	s.Helper()
	ctx := context.Background()
	var err error
	if s.owner, err = pgx.Connect(ctx, s.fleet.owner); err != nil {
		s.Fatal(err)
	}
	var all int
	if err := s.owner.QueryRow(ctx, `SELECT current_setting('max_connections')::int
		- current_setting('superuser_reserved_connections')::int - 1`).Scan(&all); err != nil {
		s.Fatal(err)
	}
	s.claims[0].until("all connections are taken", startTimeout, func() bool {
		if _, err := s.owner.Exec(ctx, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE 'claimrail%'"); err != nil {
			s.Fatal(err)
		}
		for len(s.held) < all {
			conn, err := pgx.Connect(ctx, s.url)
			if err != nil {
				if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "53300" { // too many connections
					s.Fatalf("take a connection: %v", err)
				}
				return false
			}
			s.held = append(s.held, conn)
		}
		return true
	})
}

// leave gives the connections back.
func (s *slots) leave() {
	for _, conn := range append(s.held, s.owner) {
		_ = conn.Close(context.Background())
	}
	s.held = nil
}

// While all NATS servers are away, claims are taken, and marked "failed to notify payments";
// what has to be asked of payments is answered with 503 and a time to come again; when
// they are back each claim is paid once.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	f := newFleet(t, 1)
	h := newHistory()
	i := f.claims[0]
	before := i.accept(h, randomForm(random, "before"))
	f.settled()
	for node := range natsNodes {
		f.nats.kill(node)
	}
	ids := i.acceptMany(h, random, "meanwhile", 50)
	i.wantUnready("broker")
	f.payments[0].wantUnready("broker")
	i.wantComeAgain("/v1/payments/" + before)
	i.wantComeAgain("/v1/dead-letters")
	i.until("all claims are marked as failed", startTimeout, func() bool {
		return len(i.list("payment_state=failed_to_notify_payments")) == len(ids)
	})
	for node := range natsNodes {
		f.nats.start(node)
	}
	if report := f.finish(h); report.Settled != 1+len(ids) {
		t.Errorf("got %d claims settled, want %d", report.Settled, 1+len(ids))
	}
}

// wantUnready waits until the process lives and says that it can not use something.
func (i *instance) wantUnready(what string) {
	i.Helper()
	i.until(i.name+" is not ready for want of the "+what, startTimeout, func() bool {
		a := i.get("/readyz")
		return a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), fmt.Sprintf("%q:\"unavailable\"", what))
	})
	if a := i.get("/healthz"); a.status != http.StatusOK {
		i.Errorf("GET /healthz of %s: got %d: %s, want 200", i.name, a.status, a.body)
	}
}

// wantComeAgain reads a path that can not be answered now.
func (i *instance) wantComeAgain(path string) {
	i.Helper()
	a := i.get(path)
	if a.status != http.StatusServiceUnavailable || !regexp.MustCompile(`^[1-9][0-9]?$`).MatchString(a.header.Get("Retry-After")) {
		i.Errorf("GET %s: got %d with Retry-After %q: %s, want 503 with seconds", path, a.status, a.header.Get("Retry-After"), a.body)
	}
	wantNoPHI(i, "GET "+path, a.body)
}
