package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store/pgstore"
	"github.com/claimrail/claimrail/internal/verify"
)

// fleet is the line as it is when one machine is outgrown: several processes of each role,
// on a Postgres server and a NATS cluster that are processes as well, with the database
// roles that roles.sql makes.
type fleet struct {
	*testing.T
	postgres         *pgtest.Own
	owner            string // URL of the database, for who owns it
	nats             *cluster
	claims, payments []*instance
	environ          []string                // what all processes are set to, beside what populate gives
	way              func(url string) string // to the database; nil: straight
	places           []place                 // of the processes; nil: here
}

// instance is one of the processes, and those that took its place after it was killed.
type instance struct {
	*system
	mu   sync.Mutex
	url  string             // of the last one that was ready
	past map[string]float64 // what those before it had counted when they were killed
}

// newFleet starts so many processes of each role. All ends with the test.
func newFleet(t *testing.T, each int, settings ...string) *fleet {
	t.Helper()
	f := &fleet{T: t, postgres: pgtest.StartOwn(t, settings...), nats: newCluster(t, t.TempDir())}
	f.populate(each)
	return f
}

// populate makes the database and starts so many processes of each role.
func (f *fleet) populate(each int) {
	f.Helper()
	f.owner = f.postgres.Database(f)
	roles, err := os.ReadFile("../pgfile/roles.sql")
	if err != nil {
		f.Fatal(err)
	}
	pgtest.Exec(f, f.owner, string(roles))
	if f.way == nil {
		f.way = func(url string) string { return url }
	}
	f.environ = append(f.environ,
		"CLAIMRAIL_DATABASE_URL="+f.way(f.as("claimrail_claims")), "CLAIMRAIL_PAYMENTS_DATABASE_URL="+f.way(f.as("claimrail_payments")),
		"CLAIMRAIL_NATS_URL="+f.nats.url(), "CLAIMRAIL_LISTEN=127.0.0.1:0",
	)
	if code, output := f.run("migrate"); code != 0 {
		f.Fatalf("migrate: got exit code %d: %s", code, output)
	}
	for i := range each {
		f.claims = append(f.claims, f.newInstance(fmt.Sprint("claim-process ", i), "claim-process"))
		f.payments = append(f.payments, f.newInstance(fmt.Sprint("payments ", i), "payments"))
	}
	f.nats.whole()
}

// as gives the URL of the database for a role.
func (f *fleet) as(user string) string {
	f.Helper()
	return pgtest.With(f, f.owner, "user", user)
}

// newInstance starts a process.
func (f *fleet) newInstance(name, role string) *instance {
	f.Helper()
	i := &instance{system: newSystem(f.T), past: map[string]float64{}}
	i.name, i.args, i.environ = name, []string{"serve"}, append([]string{"CLAIMRAIL_ROLE=" + role}, f.environ...)
	if len(f.places) > 0 {
		i.place, f.places = f.places[0], f.places[1:]
		i.environ = append(i.environ, "CLAIMRAIL_LISTEN="+i.place.host+":0", "CLAIMRAIL_ALLOW_UNAUTHENTICATED=true")
	}
	i.start()
	return i
}

// run runs a command of the program to its end.
func (f *fleet) run(args ...string) (code int, output string) {
	f.Helper()
	s, log := newSystem(f.T), newJournal()
	s.environ = f.environ
	p := s.spawn(log, args...)
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		f.Fatalf("claimrail %q: still running after %v: %s", args, settleTimeout, log.tail(logTail))
	}
	return p.cmd.ProcessState.ExitCode(), log.tail(logTail)
}

// all gives the instances of both roles.
func (f *fleet) all() []*instance {
	return append(append([]*instance(nil), f.claims...), f.payments...)
}

func (i *instance) start() {
	i.Helper()
	i.system.start()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.url = i.server.url
}

// address may be asked by anybody. Where the process is gone, nobody is there.
func (i *instance) address() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.url
}

// kill notes what the process has counted, and kills it.
func (i *instance) kill() {
	i.Helper()
	for name, value := range i.metrics() {
		i.past[name] += value
	}
	i.system.kill()
}

// metrics reads the metrics that have no labels.
func (s *system) metrics() map[string]float64 {
	s.Helper()
	a := s.get("/metrics")
	if a.status != http.StatusOK {
		s.Errorf("%s: GET /metrics: got %d: %s", s.name, a.status, a.body)
	}
	wantNoPHI(s, s.name+": GET /metrics", a.body)
	values := map[string]float64{}
	for line := range strings.Lines(string(a.body)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	return values
}

// count gives a counter over all processes of this instance. What one counted between the
// last look and its kill is missing.
func (i *instance) count(name string) int {
	i.Helper()
	return int(i.past[name] + i.metrics()[name])
}

// settled waits until no claim is under way.
func (f *fleet) settled() {
	f.Helper()
	f.claims[0].settled()
}

// finish is the end of every test of a fleet, as system.finish is of the others.
func (f *fleet) finish(h *history) verify.Report {
	f.Helper()
	f.settled()
	if code, output := f.run("verify"); code != 0 {
		f.Errorf("verify: got exit code %d, want 0: %s", code, output)
	}
	wantNoPHI(f, "GET /v1/dead-letters", f.claims[0].get("/v1/dead-letters").body)
	for _, i := range f.all() {
		if got := i.count("claimrail_accept_panics_total"); got != 0 {
			f.Errorf("%s: got %d panics, want none", i.name, got)
		}
		if code, took := i.stop(); code != 0 {
			f.Errorf("stop %s, which is idle: got exit code %d after %v, want 0", i.name, code, took)
		}
	}
	report := f.audit(h)
	f.searchPHI()
	return report
}

// audit holds the history against the databases.
func (f *fleet) audit(h *history) verify.Report {
	f.Helper()
	ctx, logger := context.Background(), slog.New(slog.DiscardHandler)
	claims, err := pgstore.Open(ctx, pgstore.Options{URL: f.as("claimrail_claims")}, logger)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = claims.Close() }() // only read
	ledger, err := pgledger.Open(ctx, pgledger.Options{URL: f.as("claimrail_payments")}, logger)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = ledger.Close() }() // only read
	return hold(f, h, claims, ledger)
}

// searchPHI looks for PHI where there must be none: in all logs, in the files of the broker,
// and in every row of payments. In the rows of claims it must be, or the search finds
// nothing anywhere.
func (f *fleet) searchPHI() {
	f.Helper()
	for _, i := range f.all() {
		log, _ := i.log.read(0)
		wantNoPHI(f, "the log of "+i.name, log)
	}
	for i, log := range f.nats.logs {
		text, _ := log.read(0)
		wantNoPHI(f, fmt.Sprint("the log of NATS server ", i), text)
	}
	messages := false
	err := filepath.WalkDir(f.nats.folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the servers run, and tidy up
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		messages = messages || bytes.Contains(text, []byte(event.ClaimsSubject))
		wantNoPHI(f, "NATS file "+path, text)
		return err
	})
	if err != nil || !messages {
		f.Errorf("search the files of NATS: got %v, %v for a message in them, want one", err, messages)
	}
	if got := f.rowsWithPHI("payments"); len(got) != 0 {
		f.Errorf("the payments database shows PHI in tables %q", got)
	}
	if got := f.rowsWithPHI("claims"); len(got) == 0 {
		f.Error("search the claims database: got no PHI, want some")
	}
}

// rowsWithPHI gives the tables of a schema in which a telltale stands.
func (f *fleet) rowsWithPHI(schema string) (found []string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, f.owner)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1", schema)
	if err != nil {
		f.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) == 0 {
		f.Fatalf("list the tables of %s: got %d, %v", schema, len(tables), err)
	}
	for _, table := range tables {
		var there bool
		query := "SELECT EXISTS (SELECT FROM " + schema + "." + table + " AS r, unnest($1::text[]) AS t WHERE strpos(r::text, t) > 0)"
		if err := conn.QueryRow(ctx, query, telltales()).Scan(&there); err != nil {
			f.Fatal(err)
		}
		if there {
			found = append(found, table)
		}
	}
	return found
}
