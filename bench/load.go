package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Shape of the claims that are sent.
const (
	preparedBodies = 5_000
	linesOfAClaim  = 4
	providers      = 2_000
)

// load is what a load generator saw.
type load struct {
	requests, microseconds   float64
	p50, p99, p999           float64 // microseconds
	refused, broken          float64 // answers of 400 and more; no answers
	elapsed                  time.Duration
	perSecond, goodPerSecond float64
}

// sample makes a throughput of it. Every answer must be good: what refuses is fast.
func (l load) sample() (sample, error) {
	if l.refused+l.broken > 0 || l.requests == 0 {
		return sample{}, fmt.Errorf("of %.0f requests %.0f were refused and %.0f broken", l.requests, l.refused, l.broken)
	}
	return sample{value: l.perSecond, notes: map[string]float64{"p50 ms": l.p50 / 1000, "p99 ms": l.p99 / 1000, "p99.9 ms": l.p999 / 1000}}, nil
}

// wrk sends prepared claims to url over so many connections.
func (r *rig) wrk(ctx context.Context, url string, connections int, period time.Duration) (load, error) {
	program, err := tool("wrk", "wrk")
	if err != nil {
		return load{}, err
	}
	bodies, err := r.bodies()
	if err != nil {
		return load{}, err
	}
	threads := min(connections, 2)
	command := exec.CommandContext(ctx, program, "--threads", fmt.Sprint(threads), "--connections", fmt.Sprint(connections),
		"--duration", fmt.Sprintf("%.0fs", max(1, period.Seconds())), "--timeout", "30s",
		"--script", filepath.Join(r.root, "bench", "load", "claims.lua"), url, "--", bodies)
	started := time.Now()
	output, err := command.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, output)
	}
	_, line, found := strings.Cut(string(output), "RESULT ")
	if !found {
		return load{}, fmt.Errorf("wrk told no result: %s", output)
	}
	l := load{elapsed: time.Since(started)}
	if _, err := fmt.Sscanf(line, "requests=%g us=%g p50=%g p99=%g p999=%g refused=%g broken=%g",
		&l.requests, &l.microseconds, &l.p50, &l.p99, &l.p999, &l.refused, &l.broken); err != nil {
		return load{}, fmt.Errorf("wrk told %q: %w", line, err)
	}
	l.perSecond = l.requests / l.microseconds * 1e6
	l.goodPerSecond = (l.requests - l.refused) / l.microseconds * 1e6
	return l, nil
}

// bodies gives a file of claims as the brief sends them, one on each line. They have no key, so
// that each is another claim however often it is sent.
func (r *rig) bodies() (string, error) {
	path := filepath.Join(r.folder, "bodies.ndjson")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for range preparedBodies {
		npi := randomNPI(random)
		text.WriteByte('[')
		for line := range linesOfAClaim {
			if line > 0 {
				text.WriteByte(',')
			}
			fees := 5000 + random.IntN(20000)
			fmt.Fprintf(&text, `{"service_date":"%d/%d/18 0:00","submitted_procedure":"D%04d","quadrant":"UR",`+
				`"Plan/Group #":"GRP-%04d","Subscriber#":"99%08d","Provider NPI":"%010d","provider fees":"$%d.%02d",`+
				`"Allowed fees":"$%d.%02d","member coinsurance":"$%d.%02d","member copay":"$0.00"}`,
				1+random.IntN(12), 1+random.IntN(28), random.IntN(10000), random.IntN(1000), random.IntN(1e8), npi,
				fees/100, fees%100, fees/200, fees/2%100, fees/800, fees/8%100)
		}
		text.WriteString("]\n")
	}
	// Sides that start at the same time make the same file: it is there whole, or not at all.
	draft, err := os.CreateTemp(r.folder, "bodies")
	if err != nil {
		return "", err
	}
	_, err = draft.WriteString(text.String())
	if err = errors.Join(err, draft.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(draft.Name(), path)
}

// randomNPI gives one of the providers, each with a right check digit.
func randomNPI(random *rand.Rand) int64 {
	body := 100_000_000 + random.Int64N(providers)*4_001
	sum := int64(24) // of the prefix 80840
	for i, rest := 0, body; rest > 0; i, rest = i+1, rest/10 {
		digit := rest % 10
		if i%2 == 0 {
			if digit *= 2; digit > 9 {
				digit -= 9
			}
		}
		sum += digit
	}
	return body*10 + (10-sum%10)%10
}
