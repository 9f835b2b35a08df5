package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Shape of the overload.
const (
	overloadConnections = 10 * manyConnections
	stormPeriod         = time.Minute
	calmPeriod          = 5 * time.Second
	witnessPause        = 20 * time.Millisecond // between two claims of the witness
	witnessTimeout      = 10 * time.Second
)

// openOverload sends over ten times the connections that do best, each busy again as soon
// as it was answered: that is the most that a generator on the same cores can do. Ten times the
// peak's rate, sent whenever answers come, would be more than a bare handler takes.
// What the storm's own connections measure holds refusals too, so a witness beside them, which
// does not wait for answers, tells what accepted claims and refusals are like.
func openOverload(ctx context.Context, r *rig) (*bout, error) {
	url, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	server, err := r.spawnSide(ctx, "accept", url)
	if err != nil {
		return nil, err
	}
	return &bout{
		rounds: 1,
		sides: []side{
			{"overload", func(ctx context.Context) (sample, error) { return r.storm(ctx, server, url) }},
			r.loaded("peak", server, manyConnections),
		},
		limits: []limit{{against: 1, least: 0.9}},
		close: func() {
			server.stop()
			_ = r.drop(ctx, url)
		},
	}, nil
}

// storm overloads the server, and sees how it does afterwards.
func (r *rig) storm(ctx context.Context, server *process, database string) (sample, error) {
	const count = "SELECT count(*) FROM claims.claims"
	before, err := ask(ctx, database, count)
	if err != nil {
		return sample{}, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan witness, 1)
	go func() { seen <- r.witness(watching, server.url+"/claim-process") }()
	l, err := r.profiled(server, func() (load, error) {
		return r.wrk(ctx, server.url+"/claim-process", overloadConnections, stormPeriod)
	})
	stop()
	saw := <-seen
	if err = errors.Join(err, saw.err); err != nil {
		return sample{}, err
	}
	if len(saw.accepted) == 0 {
		return sample{}, fmt.Errorf("of the witness's claims none was accepted, and %d refused", saw.refused)
	}
	after, err := ask(ctx, database, count)
	if err != nil {
		return sample{}, err
	}
	resident := residentMB(server.command.Process.Pid)
	calm, err := r.wrk(ctx, server.url+"/claim-process", manyConnections, calmPeriod)
	if err != nil {
		return sample{}, err
	}
	return sample{value: (after - before) / (l.microseconds / 1e6), notes: map[string]float64{
		"refused": l.refused, "broken": l.broken, "p99 ms": percentile(saw.accepted, 99) / 1000,
		"witness accepted": float64(len(saw.accepted)), "witness refused": float64(saw.refused),
		"claims/s in the 5 s after": calm.goodPerSecond, "MB resident": resident,
	}}, nil
}

// witness is what somebody saw who sends claims at a steady pace.
type witness struct {
	accepted []time.Duration // how long each accepted claim took
	refused  int
	err      error // what no server should do, however busy: the first of it
}

// witness sends a claim every witnessPause until ctx ends, whatever became of those before.
func (r *rig) witness(ctx context.Context, url string) witness {
	path, err := r.bodies()
	if err != nil {
		return witness{err: err}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return witness{err: err}
	}
	body, _, _ := strings.Cut(string(text), "\n")
	client := &http.Client{Timeout: witnessTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: manyConnections}}
	defer client.CloseIdleConnections()
	var saw witness
	var mu sync.Mutex
	var asking sync.WaitGroup
	pace := time.NewTicker(witnessPause)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			asking.Wait()
			return saw
		case <-pace.C:
		}
		asking.Go(func() {
			started := time.Now()
			var told []byte
			answer, err := client.Post(url, "application/json", strings.NewReader(body))
			if err == nil {
				told, err = io.ReadAll(answer.Body)
				err = errors.Join(err, answer.Body.Close())
			}
			took := time.Since(started)
			mu.Lock()
			defer mu.Unlock()
			saw.note(answer, told, err, took)
		})
	}
}

// note counts an answer.
func (w *witness) note(answer *http.Response, told []byte, err error, took time.Duration) {
	switch {
	case err != nil:
	case answer.StatusCode == http.StatusOK:
		w.accepted = append(w.accepted, took)
	case answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusTooManyRequests:
		err = fmt.Errorf("the overloaded server answered %s after %v: %s", answer.Status, took, told)
	case answer.Header.Get("Retry-After") == "":
		err = fmt.Errorf("the refusal %s is without Retry-After", answer.Status)
	default:
		w.refused++
	}
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("witness: %w", err)
	}
}
