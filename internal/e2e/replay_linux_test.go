package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/verify"
)

// kill is TestKill for longer, and with more claims.
func (t *torture) kill() {
	kills, total := size(t.T, killsVariable, shortKills), size(t.T, manyVariable, manyDefault)
	killServer(t.T, t.random, kills, max(maxFlow, int64(2*total/kills)), t.row)
}

// unsettledFiles is how many files may be on their way to payments: fewer claims than can be
// settled in settleTimeout.
const unsettledFiles = 8

// maxBusyTime is the most time from the start of a run to its kill: an idle machine imports a file in 300 ms, and
// kills are to find it at work.
const maxBusyTime = 200 * time.Millisecond

// killImports is TestImportOnServerKilled for longer: file after file is taken by a server, and
// imported to its end under kills at drawn moments, with the counts of a quiet day.
func (t *torture) killImports() {
	kills, files := size(t.T, killsVariable, shortKills), max(1, size(t.T, manyVariable, manyDefault)/fileClaims)
	s, h := newSystem(t.T), newHistory()
	t.row.history = h
	s.start()
	settled, met, end := int64(0), 0, time.Now().Add(time.Duration(size(t.T, minutesVariable, mostMinutes))*time.Minute)
	for n := range files {
		if time.Now().After(end) {
			t.Logf("time is up after %d of %d files", n, files)
			break
		}
		file := s.newImportFile(h, t.random, fmt.Sprint("file", n)).asNew()
		id := s.upload(file.path, http.StatusAccepted)
		for range (n+1)*kills/files - n*kills/files {
			<-time.After(time.Duration(t.random.Int64N(int64(maxBusyTime))))
			if s.importState(id).State != "done" {
				met++
			}
			s.wantKilled(s.kill)
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
	if met <= t.row.faults/2 {
		t.Errorf("got %d of %d kills that met an import at work, want more than half", met, t.row.faults)
	}
	t.Logf("%d of %d kills met an import at work", met, t.row.faults)
}

// killFleet is TestManyInstances for longer.
func (t *torture) killFleet() {
	total := size(t.T, manyVariable, manyDefault)
	manyInstances(t.T, t.random, total, size(t.T, roundsVariable, max(1, total/manyPerRound)), t.row)
}

// replayPerSecond is how many messages a second are played again at least, on a busy machine.
const replayPerSecond = 100

// line is the program as a rig has it: one server, or a fleet.
type line interface {
	front() *system                  // to which claims are sent
	counters() map[string]float64    // of all processes that run, together
	lags() []time.Duration           // from a claim's acceptance to its payment, the shortest first
	finish(h *history) verify.Report // the end of the rig
}

func (s *system) front() *system { return s }

func (f *fleet) front() *system { return f.claims[0].system }

func (s *system) counters() map[string]float64 { return s.metrics() }

func (f *fleet) counters() map[string]float64 {
	f.Helper()
	sums := map[string]float64{}
	for _, i := range f.all() {
		for name, value := range i.metrics() {
			sums[name] += value
		}
	}
	return sums
}

// replay has the embedded server start without what its broker knew of answers.
func (t *torture) replay() {
	s := newSystem(t.T)
	s.start()
	t.replayOn(s, size(t.T, messagesVariable, shortMessages), func() map[string]float64 {
		s.forget()
		return nil // the next process counts from 0
	})
}

// replayFleet has a fleet's consumer deleted: the next one knows of no answer.
func (t *torture) replayFleet() {
	f := newFleet(t.T, manyEach)
	t.replayOn(f, size(t.T, messagesVariable, shortFleetMessages), func() map[string]float64 {
		before := f.counters()
		f.nats.await("the consumer is deleted", func(ctx context.Context) error {
			return f.nats.stream.DeleteConsumer(ctx, event.StreamName, event.ConsumerName)
		})
		return before
	})
}

// A consumer that has forgotten what was answered plays the whole stream again: payments knows
// each message, and records nothing. forget gives what was counted before.
func (t *torture) replayOn(on line, messages int, forget func() map[string]float64) {
	t.Helper()
	front := on.front()
	l := newLoad(front, t.random)
	t.row.history = l.history
	claims := 0
	for claims < messages { // of the acknowledged requests, some are of one claim
		l.flow(max(100, int64(messages-claims)))
		_, claims, _ = l.history.Figures()
	}
	l.end()
	limit := settleTimeout + time.Duration(messages/replayPerSecond)*time.Second
	front.until("every claim is settled", limit, func() bool { return len(front.list("status=in_flight")) == 0 })
	claims, _, _ = l.history.Figures()
	before := forget()
	t.row.faults++
	begin := time.Now()
	again := func() int { return int(on.counters()[repeatsCounter] - before[repeatsCounter]) }
	front.until("payments has met all messages again", limit, func() bool { return again() >= claims })
	took := time.Since(begin)
	counted := on.counters()
	for _, name := range []string{"claimrail_payments_recorded_total", "claimrail_payments_conflicts_total", "claimrail_payments_parked_total"} {
		if got, there := counted[name]; !there || got != before[name] {
			t.Errorf("%s: got %.0f, %t, want the %.0f from before, and there", name, got, there, before[name])
		}
	}
	met := again()
	if report := on.finish(l.history); report.Payments != claims {
		t.Errorf("got %d payments, want the %d there were", report.Payments, claims)
	}
	t.Logf("%d claims; %d messages played again in %.1f s, no new payment", claims, met, took.Seconds())
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
	returned := func() int { return f.payments[0].count("claimrail_payments_naks_total") }
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
		back := returned()
		cut(ledger, after)
		if after < pgtest.CommitAnswer && !within(startTimeout, func() bool { return returned() > back }) {
			t.Errorf("after %d bytes: payments is not in doubt, and gives no message back", after)
		}
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
