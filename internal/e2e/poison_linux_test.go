package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// Sizes of the rig of poisoned messages.
const (
	poisonClaims      = 1_000
	poisonFleetClaims = 300
	poisonEvery       = 50
	poisonEach        = 2 // processes of each role, of a fleet
)

// How long others may take until they are paid while some are poisoned: in the median some times as long as beside
// no poison at the same time; and 99 of 100 of them three times as long, or what a busy machine takes anyhow.
// Measured, with up to 14 processes waiting for each core: the median 0.8 to 1.1 times, that of fleets 0.7 to 1.6
// times, and p99 0.3 to 1.5 times.
const (
	poisonMedianTimes      = 2
	poisonFleetMedianTimes = 3
	poisonMostTimes        = 3
	poisonMost             = 100 * time.Millisecond
)

// poison is for the embedded server.
func (t *torture) poison() {
	quiet, ill := newSystem(t.T), newSystem(t.T)
	quiet.start()
	ill.start()
	db := ill.openPayments()
	ill.exec(db, fmt.Sprintf(`CREATE TRIGGER planted BEFORE INSERT ON payments WHEN NEW.net_fee_cents = %d
BEGIN SELECT RAISE(ABORT, 'planted fault'); END`, int64(poisoned)))
	t.poisonOn(quiet, ill, poisonClaims, poisonMedianTimes, func() { ill.exec(db, "DROP TRIGGER planted") })
}

// poisonFleet is for fleets.
func (t *torture) poisonFleet() {
	quiet, ill := newFleet(t.T, poisonEach), newFleet(t.T, poisonEach)
	pgtest.Exec(t, ill.owner, fmt.Sprintf(`CREATE FUNCTION payments.planted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.net_fee_cents = %d THEN RAISE EXCEPTION 'planted fault'; END IF;
	RETURN NEW;
END $$`, int64(poisoned)), "CREATE TRIGGER planted BEFORE INSERT ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.planted()")
	t.poisonOn(quiet, ill, poisonFleetClaims, poisonFleetMedianTimes, func() {
		pgtest.Exec(t, ill.owner, "DROP TRIGGER planted ON payments.payments", "DROP FUNCTION payments.planted()")
	})
}

// Of fifty messages one can not be paid. The others are, and hardly later than the same ones on a line without
// poison, which gets each right before or after; the poisoned ones become dead letters, are
// redriven when the line is healed, and are paid once. One claim is sent after the other.
func (t *torture) poisonOn(quiet, ill line, claims int, times time.Duration, heal func()) {
	t.Helper()
	known, h := newHistory(), newHistory()
	t.row.history = h
	front := ill.front()
	begin := time.Now()
	for n := range claims {
		f := randomForm(t.random, fmt.Sprint(n))
		bad := n%poisonEvery == poisonEvery/2
		if !bad && n%2 == 0 {
			quiet.front().accept(known, f)
		}
		if bad {
			front.accept(h, newForm(claim.ExternalKey, fmt.Sprint(n), poisoned))
			t.row.faults++
		} else {
			front.accept(h, f)
		}
		if bad || n%2 != 0 {
			quiet.front().accept(known, f)
		}
	}
	sending := time.Since(begin)
	front.until("the poisoned claims are dead-lettered, and the others settled", settleTimeout+parkTimeout, func() bool {
		return len(front.list("status=in_flight")) == 0
	})
	if got := len(front.list("status=dead_lettered")); got != t.row.faults {
		t.Errorf("got %d claims dead-lettered, want %d", got, t.row.faults)
	}
	t.Logf("%d claims to each in %.1f s; the poisoned ones are dead-lettered %.1f s later", claims, sending.Seconds(), (time.Since(begin) - sending).Seconds())
	quiet.front().settled()
	t.wantSoon(quiet.lags(), ill.lags(), times)
	heal()
	for _, letter := range front.letters("open") {
		front.decide(letter.ID, "redrive")
	}
	front.until("all are paid", settleTimeout, func() bool { return len(front.list("status=dead_lettered")) == 0 })
	for on, h := range map[line]*history{quiet: known, ill: h} {
		if report := on.finish(h); report.Payments != claims {
			t.Errorf("got %d payments, want %d", report.Payments, claims)
		}
	}
}

// wantSoon holds what others took beside poisoned messages against what they took without.
func (t *torture) wantSoon(quiet, ill []time.Duration, times time.Duration) {
	t.Helper()
	median := func(all []time.Duration) time.Duration { return all[len(all)/2] }
	most := func(all []time.Duration) time.Duration { return all[len(all)*99/100] }
	t.Logf("beside %d poisoned messages the other %d are paid after p50 %v, p99 %v, at most %v; without poison after %v, %v, %v",
		t.row.faults, len(ill), median(ill), most(ill), ill[len(ill)-1], median(quiet), most(quiet), quiet[len(quiet)-1])
	if bound := times * median(quiet); median(ill) > bound {
		t.Errorf("beside poisoned messages the median is %v, want %v at most", median(ill), bound)
	}
	if bound := max(poisonMostTimes*most(quiet), poisonMost); most(ill) > bound {
		t.Errorf("beside poisoned messages 99 of 100 take %v, want %v at most", most(ill), bound)
	}
}

// lags gives the times from a claim's acceptance to its payment, the shortest first.
func (s *system) lags() (all []time.Duration) {
	s.Helper()
	db := s.openPayments()
	db.SetMaxOpenConns(1) // what is attached is of one connection
	s.exec(db, "ATTACH DATABASE '"+strings.ReplaceAll(s.dir, "'", "''")+"/"+claimsFile+"' AS c")
	rows, err := db.QueryContext(s.Context(), `SELECT p.recorded_at - c.received_at FROM payments AS p JOIN c.claims AS c USING (claim_id)`)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var took int64 // microseconds
		if err := rows.Scan(&took); err != nil {
			s.Fatal(err)
		}
		all = append(all, time.Duration(took)*time.Microsecond)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		s.Fatalf("read when claims were paid: got %d, %v", len(all), err)
	}
	slices.Sort(all)
	return all
}

// lags asks Postgres, as its owner.
func (f *fleet) lags() (all []time.Duration) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, f.owner)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT (extract(epoch FROM recorded_at - received_at) * 1000000)::bigint AS took FROM claims.settlements ORDER BY took")
	if err != nil {
		f.Fatal(err)
	}
	micros, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(micros) == 0 {
		f.Fatalf("read when claims were paid: got %d, %v", len(micros), err)
	}
	for _, took := range micros {
		all = append(all, time.Duration(took)*time.Microsecond)
	}
	return all
}
