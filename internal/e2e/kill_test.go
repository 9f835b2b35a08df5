package e2e_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Bounds of the moment of a kill.
const (
	maxFlow  = 300                   // claims acknowledged since the start
	maxDelay = 20 * time.Millisecond // after that
)

// A server killed with kill -9 under load, again and again at drawn moments, loses nothing
// that it acknowledged, pays nothing twice, and starts again on what the last one left.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 10
	if testing.Short() {
		kills = 3
	}
	killServer(t, newRandom(t), kills, maxFlow, &row{})
}

// killServer kills the server so many times under load, each time after flow more claims at most,
// and tells in the row what came of it.
func killServer(t *testing.T, random *rand.Rand, kills int, flow int64, row *row) {
	t.Helper()
	begin := time.Now()
	s := newSystem(t)
	s.start()
	l := newLoad(s, random)
	row.history = l.history
	cut := int64(0) // requests that a kill found under way
	for range kills {
		l.flow(random.Int64N(flow))
		<-time.After(time.Duration(random.Int64N(int64(maxDelay))))
		inFlight := l.inFlight.Load()
		s.wantKilled(s.kill)
		row.faults++
		if cut += inFlight; inFlight == 0 {
			t.Error("a kill found no request under way")
		}
		l.restart()
	}
	l.flow(clients)
	l.end()
	report := s.finish(l.history)
	claims, acknowledged, sent := l.history.Figures()
	if claims != acknowledged || report.Settled != claims {
		t.Errorf("got %d claims sent, %d acknowledged, %d settled, want all of them", claims, acknowledged, report.Settled)
	}
	if l.unknown.Load() == 0 || l.refused.Load() == 0 {
		t.Errorf("got %d requests without an answer, %d refused, want some of both", l.unknown.Load(), l.refused.Load())
	}
	t.Logf("%d claims in %d requests: %d acknowledged, %d refused, %d unknown; %d kills, %d requests under way at them, %d sent again; %.1f s",
		claims, sent, l.acknowledged.Load(), l.refused.Load(), l.unknown.Load(), kills, cut, l.resent.Load(), time.Since(begin).Seconds())
}
