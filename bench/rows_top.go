package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// Sizes of the rows of the ranking, and of growth.
const (
	fewClaims    = 2_500   // 10,000 lines
	manyClaims   = 250_000 // 1,000,000 lines
	rankings     = 2_000
	growthSlices = 50
)

func openTop(ctx context.Context, r *rig) (*bout, error) {
	var urls []string
	for _, size := range []struct {
		name   string
		claims int
	}{{"few.csv", fewClaims}, {"import.csv", manyClaims}} {
		table, err := r.table(size.name, size.claims, linesOfAClaim)
		if err != nil {
			return nil, err
		}
		url, err := r.database(ctx)
		if err != nil {
			return nil, err
		}
		urls = append(urls, url)
		if _, err := r.importInto(ctx, table, 1, "CLAIMRAIL_DATABASE_URL="+url); err != nil {
			return nil, err
		}
		if err := execute(ctx, url, "VACUUM ANALYZE"); err != nil {
			return nil, err
		}
	}
	rank := func(url string) func(context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) { return timeRanking(ctx, url) }
	}
	sum := func(ctx context.Context) (sample, error) {
		started := time.Now()
		_, err := ask(ctx, urls[1], `SELECT sum(total)::float8 FROM (SELECT provider_npi, sum(provider_fees_cents + member_coinsurance_cents +
			member_copay_cents - allowed_fees_cents) AS total FROM claims.lines GROUP BY provider_npi ORDER BY total DESC LIMIT 10) AS top`)
		return sample{value: float64(time.Since(started).Microseconds())}, err
	}
	return &bout{
		sides: []side{{"1,000,000 lines", rank(urls[1])}, {"10,000 lines", rank(urls[0])}, {"SUM .. GROUP BY", sum}},
		limits: []limit{
			{against: 1, most: 1.2},
			{against: 2, most: 1.0 / 500},
		},
		close: func() { _ = errors.Join(r.drop(ctx, urls[0]), r.drop(ctx, urls[1])) },
	}, nil
}

// timeRanking gives the median time of the ranking, as the API asks for it.
func timeRanking(ctx context.Context, url string) (_ sample, err error) {
	engine, err := pgstore.Open(ctx, pgstore.Options{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	var took []time.Duration
	for range rankings {
		started := time.Now()
		top, err := engine.TopProviders(ctx, 10)
		if err != nil || len(top) != 10 {
			return sample{}, fmt.Errorf("ranking of %d providers: %w", len(top), err)
		}
		took = append(took, time.Since(started))
	}
	return sample{value: percentile(took, 50), notes: map[string]float64{"p99 us": percentile(took, 99)}}, nil
}

// openGrowth imports slice after slice into one database, and has each paid and settled. It
// keeps what each cost in growth.csv, and draws the chart from that.
func openGrowth(ctx context.Context, r *rig) (*bout, error) {
	settings, url, err := r.onPostgres(ctx)
	if err != nil {
		return nil, err
	}
	claims := r.grown / linesOfAClaim / growthSlices
	name := filepath.Join(r.root, "bench", "growth.csv")
	log, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "lines,"+strings.Join(growthColumns(), ","))
	var first sample
	grow := func(ctx context.Context) (sample, error) {
		var last sample
		for n := range growthSlices {
			var err error
			if last, err = r.growOnce(ctx, n, claims, settings, url); err != nil {
				return sample{}, err
			}
			if n == 0 {
				first = last
			}
			fmt.Fprint(log, (n+1)*claims*linesOfAClaim)
			for _, column := range growthColumns() {
				fmt.Fprintf(log, ",%.1f", last.notes[column])
			}
			fmt.Fprintln(log)
			fmt.Fprintf(os.Stdout, "  %d lines: %.0f lines/s %s\n", (n+1)*claims*linesOfAClaim, last.value, noted(last.notes))
		}
		return last, nil
	}
	return &bout{
		rounds: 1,
		sides:  []side{{fmt.Sprintf("%d lines stored", r.grown), grow}, {"empty store", func(context.Context) (sample, error) { return first, nil }}},
		limits: []limit{{against: 1, least: 0.8}},
		close: func() {
			if err := errors.Join(log.Close(), writeChart(name, filepath.Join(r.root, "docs", "growth.svg")), r.drop(ctx, url)); err != nil {
				fmt.Fprintln(os.Stdout, " ", err)
			}
		},
	}, nil
}

// growthColumns are the notes on a slice that growth.csv keeps.
func growthColumns() []string {
	return []string{
		"lines_per_second", "settled_per_second", "ranking_us", "lookup_us", "table_bytes_per_line", "index_bytes_per_line",
		"outbox_mb", "outbox_dead_rows", "outbox_vacuums",
	}
}

// growOnce imports one slice while the line delivers it, and measures the store.
func (r *rig) growOnce(ctx context.Context, n, claims int, settings []string, url string) (sample, error) {
	table, err := r.slice(n, claims)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.Remove(table) }()
	s, err := r.importInto(ctx, table, float64(claims*linesOfAClaim), settings...)
	if err != nil {
		return sample{}, err
	}
	server, err := r.serve(ctx, settings...)
	if err != nil {
		return sample{}, err
	}
	started := time.Now()
	err = waitUntil(ctx, url, "SELECT count(*) FROM (SELECT FROM claims.outbox LIMIT 1) AS left_over", func(count float64) bool { return count == 0 })
	took := time.Since(started).Seconds()
	server.stop()
	if err != nil {
		return sample{}, err
	}
	s.notes["lines_per_second"], s.notes["settled_per_second"] = s.value, float64(claims)/took
	ranking, err := timeRanking(ctx, url)
	if err != nil {
		return sample{}, err
	}
	s.notes["ranking_us"] = ranking.value
	return s, r.measureStore(ctx, url, s.notes)
}

// measureStore adds sizes, and the time to find a claim.
func (r *rig) measureStore(ctx context.Context, url string, notes map[string]float64) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var table, index, lines, outbox, dead, vacuums float64
	err = conn.QueryRow(ctx, `SELECT sum(pg_table_size(c.oid))::float8, sum(pg_indexes_size(c.oid))::float8,
		(SELECT max(id)::float8 FROM claims.lines), pg_total_relation_size('claims.outbox')::float8 / 1e6,
		(SELECT n_dead_tup::float8 FROM pg_stat_user_tables WHERE relid = 'claims.outbox'::regclass),
		(SELECT autovacuum_count::float8 FROM pg_stat_user_tables WHERE relid = 'claims.outbox'::regclass)
		FROM pg_class AS c WHERE c.relnamespace = 'claims'::regnamespace AND c.relkind = 'r'`).
		Scan(&table, &index, &lines, &outbox, &dead, &vacuums)
	if err != nil {
		return fmt.Errorf("measure the store: %w", err)
	}
	notes["table_bytes_per_line"], notes["index_bytes_per_line"] = table/lines, index/lines
	notes["outbox_mb"], notes["outbox_dead_rows"], notes["outbox_vacuums"] = outbox, dead, vacuums
	var took []time.Duration
	for range 200 {
		var id [16]byte
		if err := conn.QueryRow(ctx, `SELECT claim_id FROM claims.claims WHERE seq >=
			(SELECT (random() * max(seq))::bigint FROM claims.claims) LIMIT 1`).Scan(&id); err != nil {
			return fmt.Errorf("pick a claim: %w", err)
		}
		started := time.Now()
		var net int64
		if err := conn.QueryRow(ctx, `SELECT c.net_fee_cents FROM claims.claim_keys AS k JOIN claims.claims AS c ON c.seq = k.seq
			WHERE k.claim_id = $1`, id).Scan(&net); err != nil {
			return fmt.Errorf("look up a claim: %w", err)
		}
		took = append(took, time.Since(started))
	}
	notes["lookup_us"] = percentile(took, 50)
	return nil
}
