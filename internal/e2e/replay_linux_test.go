package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// kill is TestKill for longer, and with more claims.
func (t *torture) kill() {
	kills, total := size(t.T, killsVariable, shortKills), size(t.T, manyVariable, manyDefault)
	killServer(t.T, t.random, kills, max(maxFlow, int64(2*total/kills)), t.row)
}

// unsettledFiles is how many files may be on their way to payments: fewer claims than can be
// settled in settleTimeout.
const unsettledFiles = 8

// killImports is TestImportOnServerKilled for longer: file after file is taken by a server, and
// imported to its end under kills at drawn moments, with the counts of a quiet day.
func (t *torture) killImports() {
	kills, files := size(t.T, killsVariable, shortKills), max(1, size(t.T, manyVariable, manyDefault)/fileClaims)
	s, h := newSystem(t.T), newHistory()
	t.row.history = h
	s.start()
	settled, end := int64(0), time.Now().Add(time.Duration(size(t.T, minutesVariable, mostMinutes))*time.Minute)
	for n := range files {
		if time.Now().After(end) {
			t.Logf("time is up after %d of %d files", n, files)
			break
		}
		file := s.newImportFile(h, t.random, fmt.Sprint("file", n)).asNew()
		id := s.upload(file.path, http.StatusAccepted)
		for range (n+1)*kills/files - n*kills/files {
			<-time.After(time.Duration(t.random.Int64N(int64(maxImportTime))))
			s.kill()
			t.row.faults++
			s.start()
		}
		if got := s.awaitImport(id); got.State != "done" || got.Claims != file.want {
			t.Errorf("%s: got %s %s, %+v, want %+v", file.name, got.State, got.Error, got.Claims, file.want)
		}
		h.count(file)
		settled += file.want.Accepted
		for _, path := range []string{file.path, file.known()} {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
		if n%unsettledFiles == unsettledFiles-1 {
			s.settled()
		}
	}
	if report := s.finish(h); int64(report.Settled) != settled {
		t.Errorf("got %d claims settled, want %d", report.Settled, settled)
	}
}

// killFleet is TestManyInstances for longer.
func (t *torture) killFleet() {
	total := size(t.T, manyVariable, manyDefault)
	manyInstances(t.T, t.random, total, size(t.T, roundsVariable, max(1, total/manyPerRound)), t.row)
}

// replayPerSecond is how many messages a second are played again at least, on a busy machine.
const replayPerSecond = 100

// A consumer that has forgotten what was answered plays the whole stream again: payments knows
// each message, and records nothing.
func (t *torture) replay() {
	messages := size(t.T, messagesVariable, shortMessages)
	s := newSystem(t.T)
	s.start()
	l := newLoad(s, t.random)
	t.row.history = l.history
	claims := 0
	for claims < messages { // of the acknowledged requests, some are of one claim
		l.flow(max(100, int64(messages-claims)))
		_, claims, _ = l.history.Figures()
	}
	l.end()
	s.until("every claim is settled", settleTimeout+time.Duration(messages/replayPerSecond)*time.Second, func() bool {
		return len(s.list("status=in_flight")) == 0
	})
	claims, _, _ = l.history.Figures()
	s.forget()
	t.row.faults++
	begin := time.Now()
	i := instance{system: s}
	s.until("payments has met all messages again", settleTimeout+time.Duration(messages/replayPerSecond)*time.Second, func() bool {
		return i.metrics()["claimrail_payments_repeats_total"] >= float64(claims)
	})
	took := time.Since(begin)
	counted := i.metrics()
	for _, name := range []string{"claimrail_payments_recorded_total", "claimrail_payments_conflicts_total", "claimrail_payments_parked_total"} {
		if got, there := counted[name]; !there || got != 0 {
			t.Errorf("%s: got %.0f, %t, want 0 and there", name, got, there)
		}
	}
	if report := s.finish(l.history); report.Payments != claims {
		t.Errorf("got %d payments, want the %d there were", report.Payments, claims)
	}
	t.Logf("%d claims; %.0f messages played again in %.1f s, no new payment", claims, counted["claimrail_payments_repeats_total"], took.Seconds())
}

// Bounds of the search for a COMMIT of an acceptance among those of the claims database.
const (
	mostCuts     = 50              // at one byte
	doubtTimeout = 2 * time.Second // for the committer to say that it is in doubt; it is at once
)

// The answer to COMMIT is cut at each of its bytes, for both databases, under load: to that of an
// acceptance, and of a record of payments, which commits nothing else here. Before each cut
// payments has recorded some again: after failures in a row it would wait longer each time, and
// the claims of the meantime would be the rig's own, not those of a cut.
func (t *torture) cutCommits() {
	var proxies []*pgtest.Proxy
	f := &fleet{T: t.T, postgres: pgtest.StartOwn(t), nats: newCluster(t.T, t.TempDir()), way: func(url string) string {
		proxies = append(proxies, pgtest.NewProxy(t, url))
		return proxies[len(proxies)-1].URL
	}}
	f.populate(1)
	l := newLoad(f.claims[0].system, t.random)
	t.row.history = l.history
	recorded := func() int { return f.payments[0].count("claimrail_payments_recorded_total") }
	doubts := func() int { return f.claims[0].count("claimrail_accept_doubts_total") }
	cut := func(proxy *pgtest.Proxy, after int) {
		l.flow(1)
		before := recorded()
		l.until("payments are recorded", startTimeout, func() bool { return recorded() > before })
		proxy.CutCommit(after)
		l.until("an answer to COMMIT is cut", startTimeout, func() bool { return !proxy.Armed() })
		t.row.faults++
	}
	claims, ledger := proxies[0], proxies[1]
	others := 0 // cuts that met a row of the outbox that was marked or settled
	for after := range pgtest.CommitAnswer + 1 {
		cut(ledger, after)
		accepting := func() bool {
			before := doubts()
			cut(claims, after)
			// Of the whole answer nobody is in doubt, whatever it was to.
			return after == pgtest.CommitAnswer || within(doubtTimeout, func() bool { return doubts() > before })
		}
		tries := 1
		for ; tries < mostCuts && !accepting(); tries++ {
			others++
		}
		if tries == mostCuts {
			t.Errorf("after %d bytes: none of %d cuts was of an acceptance", after, tries)
		}
	}
	l.flow(clients)
	l.end()
	f.settled()
	doubted := doubts()
	report := f.finish(l.history)
	if claims, _, _ := l.history.Figures(); report.Settled != claims {
		t.Errorf("got %d claims settled, want all %d", report.Settled, claims)
	}
	t.Logf("%d cuts, %d of them of other transactions than acceptance; %d commits in doubt; requests: %d acknowledged, %d answered with 503, %d not answered",
		t.row.faults, others, doubted, l.acknowledged.Load(), l.denied.Load(), l.unknown.Load())
}

// Sizes of the rig of poisoned messages.
const (
	poisonClaims = 1_000
	poisonEvery  = 50
)

// How long others may take until they are paid while some are poisoned: so many times as long as
// without poison, and below a time that a busy machine takes anyhow. Measured are 2 and 13 ms.
const (
	poisonTimes  = 5
	poisonMedian = 250 * time.Millisecond
	poisonMost   = time.Second // for 99 of 100
)

// Of fifty messages one can not be paid. The others are, and hardly later than in the run without
// which comes first; the poisoned ones become dead letters, are redriven, and are paid once.
func (t *torture) poison() {
	var quiet []time.Duration // what they took without
	for _, poisoning := range []bool{false, true} {
		s := newSystem(t.T)
		s.start()
		h := newHistory()
		t.row.history = h
		db := s.openPayments()
		if poisoning {
			s.exec(db, fmt.Sprintf(`CREATE TRIGGER planted BEFORE INSERT ON payments WHEN NEW.net_fee_cents = %d
BEGIN SELECT RAISE(ABORT, 'planted fault'); END`, int64(poisoned)))
		}
		bad := 0
		for n := range poisonClaims {
			f := randomForm(t.random, fmt.Sprint(n))
			if poisoning && n%poisonEvery == poisonEvery/2 {
				f = newForm(claim.ExternalKey, fmt.Sprint(n), poisoned)
				bad++
			}
			s.accept(h, f)
		}
		t.row.faults += bad
		s.until("the poisoned claims are dead-lettered, and the others settled", settleTimeout+parkTimeout, func() bool {
			return len(s.list("status=in_flight")) == 0
		})
		if got := len(s.list("status=dead_lettered")); got != bad {
			t.Errorf("got %d claims dead-lettered, want %d", got, bad)
		}
		took := s.lags()
		t.Logf("poisoned: %d of %d; the other %d are paid after p50 %v, p99 %v, at most %v",
			bad, poisonClaims, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		if !poisoning {
			quiet = took
		} else {
			t.wantSoon("p50", took[len(took)/2], quiet[len(quiet)/2], poisonMedian)
			t.wantSoon("p99", took[len(took)*99/100], quiet[len(quiet)*99/100], poisonMost)
			s.exec(db, "DROP TRIGGER planted")
			for _, letter := range s.letters("open") {
				s.decide(letter.ID, "redrive")
			}
		}
		s.until("all are paid", settleTimeout, func() bool { return len(s.list("status=dead_lettered")) == 0 })
		if report := s.finish(h); report.Payments != poisonClaims {
			t.Errorf("got %d payments, want %d", report.Payments, poisonClaims)
		}
	}
}

// wantSoon holds what others took beside poisoned messages against what they took without.
func (t *torture) wantSoon(share string, took, quiet, least time.Duration) {
	t.Helper()
	if most := max(poisonTimes*quiet, least); took > most {
		t.Errorf("beside poisoned messages others are paid after %s %v, without after %v, want %v at most", share, took, quiet, most)
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
