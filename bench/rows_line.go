package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Sizes of the rows of delivery.
const (
	drainedClaims = 200_000
	riverJobs     = 50_000 // at their rate, 10 s of work
	idleClaims    = 400
	drainTimeout  = 3 * time.Minute
)

const (
	countClaims  = "SELECT count(*) FROM claims.claims"
	countOutbox  = "SELECT count(*) FROM claims.outbox"
	countSettled = "SELECT count(*) FROM claims.settlements"
)

func openLine(ctx context.Context, r *rig) (*bout, error) {
	whole := func(ctx context.Context) (sample, error) {
		settings, url, err := r.onPostgres(ctx)
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
		server, err := r.serve(ctx, settings...)
		if err != nil {
			return sample{}, err
		}
		defer server.stop()
		return r.settledUnderLoad(ctx, server, url)
	}
	alone := func(ctx context.Context) (sample, error) {
		url, err := r.database(ctx)
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
		server, err := r.spawnSide(ctx, "accept", url)
		if err != nil {
			return sample{}, err
		}
		defer server.stop()
		return r.loaded("", server, manyConnections).measure(ctx)
	}
	return &bout{
		sides:  []side{{"whole line, settled", whole}, {"accept only", alone}},
		limits: []limit{{against: 1, least: 0.5}},
	}, nil
}

// settledUnderLoad loads a server and counts what is settled meanwhile: from a moment when
// the line has filled to the end of the load, so that what waits does not count.
func (r *rig) settledUnderLoad(ctx context.Context, server *process, url string) (sample, error) {
	period := 3 * r.period
	type outcome struct {
		load load
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		l, err := r.wrk(ctx, server.url+"/claim-process", manyConnections, period)
		ended <- outcome{l, err}
	}()
	if err := pause(ctx, period/6); err != nil {
		return sample{}, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = conn.Close(ctx) }()
	look := func() (settled, waiting float64, at time.Time, err error) {
		err = conn.QueryRow(ctx, "SELECT ("+countSettled+")::float8, ("+countOutbox+")::float8").Scan(&settled, &waiting)
		return settled, waiting, time.Now(), err
	}
	settled, waiting, begun, err := look()
	if err != nil {
		return sample{}, err
	}
	o := <-ended
	if o.err != nil {
		return sample{}, o.err
	}
	if _, err := o.load.sample(); err != nil {
		return sample{}, err
	}
	settledAfter, waitingAfter, now, err := look()
	if err != nil {
		return sample{}, err
	}
	seconds := now.Sub(begun).Seconds()
	return sample{value: (settledAfter - settled) / seconds, notes: map[string]float64{
		"accepted/s": o.load.perSecond, "outbox growth/s": (waitingAfter - waiting) / seconds, "p99 ms": o.load.p99 / 1000,
	}}, nil
}

func openDrain(ctx context.Context, r *rig) (*bout, error) {
	table, err := r.table("drain.csv", drainedClaims, 1)
	if err != nil {
		return nil, err
	}
	return &bout{
		sides: []side{
			{"claimrail", func(ctx context.Context) (sample, error) { return r.drain(ctx, table) }},
			{"River", func(ctx context.Context) (sample, error) { return r.workRiver(ctx) }},
		},
		limits: []limit{{figure: true, least: 20_000}, {against: 1, least: 4}},
	}, nil
}

// drain imports claims while nobody delivers them, and then takes the time until all are settled.
func (r *rig) drain(ctx context.Context, table string) (sample, error) {
	settings, url, err := r.onPostgres(ctx)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
	if output, err := r.claimrail(ctx, settings, "import", table).CombinedOutput(); err != nil {
		return sample{}, fmt.Errorf("import: %w: %s", err, lastLine(output))
	}
	if err := execute(ctx, url, "ANALYZE"); err != nil {
		return sample{}, err
	}
	if err := r.postgres.settle(ctx); err != nil {
		return sample{}, err
	}
	started := time.Now()
	server, err := r.serve(ctx, settings...)
	if err != nil {
		return sample{}, err
	}
	defer server.stop()
	ready := time.Since(started)
	if err := waitForCount(ctx, url, countSettled, drainedClaims); err != nil {
		return sample{}, err
	}
	return sample{value: drainedClaims / time.Since(started).Seconds(), notes: map[string]float64{"of it start ms": float64(ready.Milliseconds())}}, nil
}

// pause waits so long, unless ctx ends.
func pause(ctx context.Context, period time.Duration) error {
	timer := time.NewTimer(period)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitForCount waits until a query counts so many. A count of many rows takes the processors
// from what is measured, so it looks again after half of the time that the rest will take.
func waitForCount(ctx context.Context, url, query string, want float64) error {
	started := time.Now()
	return watch(ctx, url, query, func(count float64) (bool, time.Duration) {
		left := maxLook
		if count > 0 {
			left = time.Duration((want - count) / count * float64(time.Since(started)))
		}
		return count >= want, min(max(left/2, minLook), maxLook)
	})
}

// Waits between two counts.
const (
	minLook = 20 * time.Millisecond
	maxLook = time.Second
)

// waitUntil waits until what a query counts is enough.
func waitUntil(ctx context.Context, url, query string, enough func(float64) bool) error {
	return watch(ctx, url, query, func(count float64) (bool, time.Duration) { return enough(count), 100 * time.Millisecond })
}

// watch counts until look says that it is enough, each time after the wait that look gives.
func watch(ctx context.Context, url, query string, look func(count float64) (enough bool, wait time.Duration)) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for {
		var got float64
		if err := conn.QueryRow(ctx, strings.Replace(query, "count(*)", "count(*)::float8", 1)).Scan(&got); err != nil {
			return fmt.Errorf("count: %w", err)
		}
		enough, wait := look(got)
		if enough {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a count: at %.0f: %w", got, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// paymentArgs is a job of River's: one payment.
type paymentArgs struct {
	ClaimID string `json:"claim_id"`
	Cents   int64  `json:"cents"`
}

// Kind implements river.JobArgs.
func (paymentArgs) Kind() string { return "payment" }

type paymentWorker struct {
	river.WorkerDefaults[paymentArgs]
	pool *pgxpool.Pool
}

// Work implements river.Worker: one payment row, once.
func (w *paymentWorker) Work(ctx context.Context, job *river.Job[paymentArgs]) error {
	_, err := w.pool.Exec(ctx, "INSERT INTO paid (claim_id, cents) VALUES ($1, $2) ON CONFLICT DO NOTHING", job.Args.ClaimID, job.Args.Cents)
	return err
}

// workRiver inserts jobs and takes the time until River has worked them.
func (r *rig) workRiver(ctx context.Context) (_ sample, err error) {
	url, err := r.database(ctx)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, r.drop(context.WithoutCancel(ctx), url)) }()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return sample{}, err
	}
	config.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return sample{}, err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "CREATE TABLE paid (claim_id text PRIMARY KEY, cents bigint NOT NULL)"); err != nil {
		return sample{}, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return sample{}, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return sample{}, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &paymentWorker{pool: pool})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1000}},
		FetchCooldown: 20 * time.Millisecond, FetchPollInterval: 100 * time.Millisecond,
		Workers: workers, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return sample{}, err
	}
	inserted, err := insertJobs(ctx, client)
	if err != nil {
		return sample{}, err
	}
	if _, err := pool.Exec(ctx, "ANALYZE"); err != nil {
		return sample{}, err
	}
	if err := r.postgres.settle(ctx); err != nil {
		return sample{}, err
	}
	started := time.Now()
	if err := client.Start(ctx); err != nil {
		return sample{}, err
	}
	err = waitForCount(ctx, url, "SELECT count(*) FROM river_job WHERE state = 'completed'", riverJobs)
	took := time.Since(started)
	return sample{value: riverJobs / took.Seconds(), notes: map[string]float64{"insert/s": inserted}}, errors.Join(err, client.Stop(ctx))
}

func insertJobs(ctx context.Context, client *river.Client[pgx.Tx]) (perSecond float64, err error) {
	const batch = 5000
	started := time.Now()
	for first := 0; first < riverJobs; first += batch {
		params := make([]river.InsertManyParams, batch)
		for i := range params {
			params[i].Args = paymentArgs{ClaimID: fmt.Sprintf("claim-%d", first+i), Cents: int64(first + i)}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return 0, fmt.Errorf("insert jobs: %w", err)
		}
	}
	return riverJobs / time.Since(started).Seconds(), nil
}

func openIdle(ctx context.Context, r *rig) (*bout, error) {
	settings, url, err := r.onPostgres(ctx)
	if err != nil {
		return nil, err
	}
	server, err := r.serve(ctx, settings...)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		server.stop()
		return nil, err
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE probe (id bigserial PRIMARY KEY, n bigint)"); err != nil {
		server.stop()
		return nil, err
	}
	commit := func(ctx context.Context) (sample, error) {
		var took []time.Duration
		for range idleClaims {
			started := time.Now()
			if _, err := conn.Exec(ctx, "INSERT INTO probe (n) VALUES (1)"); err != nil {
				return sample{}, err
			}
			took = append(took, time.Since(started))
		}
		return sample{value: percentile(took, 50), notes: map[string]float64{"p99 us": percentile(took, 99)}}, nil
	}
	return &bout{
		sides: []side{
			{"accepted to recorded, p99", func(ctx context.Context) (sample, error) { return r.acceptedToRecorded(ctx, server, conn) }},
			{"one commit, p50", commit},
		},
		limits: []limit{{against: 1, most: 10}},
		close: func() {
			server.stop()
			_ = errors.Join(conn.Close(ctx), r.drop(ctx, url))
		},
	}, nil
}

// recordedPoll is how often the payments database is asked for a claim. Asked without a pause, it
// would have two of two processors busy with the question.
const recordedPoll = 100 * time.Microsecond

// acceptedToRecorded sends one claim after the other and takes, of each, the time from its answer
// until the payments database has it.
func (r *rig) acceptedToRecorded(ctx context.Context, server *process, conn *pgx.Conn) (sample, error) {
	path, err := r.bodies()
	if err != nil {
		return sample{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return sample{}, err
	}
	bodies := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var took []time.Duration
	for i := range idleClaims {
		claimID, err := post(ctx, server.url+"/claim-process", bodies[i%len(bodies)])
		if err != nil {
			return sample{}, err
		}
		answered := time.Now()
		for recorded := false; !recorded; {
			if time.Since(answered) > 10*time.Second {
				return sample{}, errors.New("a claim was not paid within 10 s")
			}
			if err := pause(ctx, recordedPoll); err != nil {
				return sample{}, err
			}
			if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM payments.payments WHERE claim_id = $1)", claimID).Scan(&recorded); err != nil {
				return sample{}, err
			}
		}
		took = append(took, time.Since(answered))
		if err := pause(ctx, 5*time.Millisecond); err != nil { // idle again
			return sample{}, err
		}
	}
	return sample{value: percentile(took, 99), notes: map[string]float64{"p50 us": percentile(took, 50)}}, nil
}

// post sends a claim and gives the id that it was given.
func post(ctx context.Context, url string, body []byte) (claimID string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST %s: %s", url, answer.Status)
	}
	var lines []struct {
		ClaimID string `json:"unique_claim_id"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&lines); err != nil {
		return "", fmt.Errorf("POST %s: read the answer: %w", url, err)
	}
	if len(lines) == 0 {
		return "", fmt.Errorf("POST %s: the answer has no lines", url)
	}
	return lines[0].ClaimID, nil
}

// percentile gives a percentile in microseconds.
func percentile(took []time.Duration, percent int) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[min(len(sorted)-1, len(sorted)*percent/100)].Nanoseconds()) / 1000
}
