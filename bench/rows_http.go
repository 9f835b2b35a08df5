package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Connections of the load generator.
const (
	manyConnections      = 256
	referenceConnections = 32 // at which the reference does best
)

// loaded makes a side of a server under load.
func (r *rig) loaded(name string, server *process, connections int) side {
	return side{name, func(ctx context.Context) (sample, error) {
		if err := r.postgres.settle(ctx); err != nil {
			return sample{}, err
		}
		l, err := r.profiled(server, func() (load, error) {
			return r.wrk(ctx, server.url+"/claim-process", connections, r.period)
		})
		if err != nil {
			return sample{}, err
		}
		return l.sample()
	}}
}

func openAccept(ctx context.Context, r *rig) (*bout, error) {
	ours, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	theirs, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	accept, err := r.spawnSide(ctx, "accept", ours)
	if err != nil {
		return nil, err
	}
	reference, err := r.startReference(ctx, theirs)
	if err != nil {
		accept.stop()
		return nil, err
	}
	bare, err := r.spawnSide(ctx, "bare", "")
	if err != nil {
		accept.stop()
		reference.stop()
		return nil, err
	}
	return &bout{
		sides: []side{
			r.loaded("claimrail", accept, manyConnections),
			r.loaded("FastAPI reference", reference, referenceConnections),
			r.loaded("bare handler", bare, manyConnections),
		},
		limits: []limit{{against: 1, least: 40}, {against: 2, least: 0.33}},
		close: func() {
			for _, p := range []*process{accept, reference, bare} {
				p.stop()
			}
			_ = errors.Join(r.drop(ctx, ours), r.drop(ctx, theirs))
		},
	}, nil
}

func openAcceptSQLite(ctx context.Context, r *rig) (*bout, error) {
	onSQLite, onPostgres := func(ctx context.Context) (sample, error) {
		folder, err := r.folderFor("sqlite")
		if err != nil {
			return sample{}, err
		}
		return r.serveAndLoad(ctx, "CLAIMRAIL_DATA_DIR="+folder)
	}, func(ctx context.Context) (sample, error) {
		settings, url, err := r.onPostgres(ctx)
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
		return r.serveAndLoad(ctx, settings...)
	}
	return &bout{
		sides:  []side{{"SQLite", onSQLite}, {"Postgres", onPostgres}},
		limits: []limit{{against: 1, least: 1}},
	}, nil
}

// onPostgres gives the settings of the whole line on a new database, with the broker embedded.
func (r *rig) onPostgres(ctx context.Context) (settings []string, url string, err error) {
	if url, err = r.database(ctx); err != nil {
		return nil, "", err
	}
	folder, err := r.folderFor("broker")
	if err != nil {
		return nil, "", err
	}
	return []string{"CLAIMRAIL_DATABASE_URL=" + url, "CLAIMRAIL_PAYMENTS_DATABASE_URL=" + url, "CLAIMRAIL_DATA_DIR=" + folder}, url, nil
}

// serveAndLoad starts the whole line anew and puts it under load.
func (r *rig) serveAndLoad(ctx context.Context, settings ...string) (sample, error) {
	server, err := r.serve(ctx, settings...)
	if err != nil {
		return sample{}, err
	}
	defer server.stop()
	return r.loaded("", server, manyConnections).measure(ctx)
}

func openLatency(ctx context.Context, r *rig) (*bout, error) {
	url, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	server, err := r.spawnSide(ctx, "accept", url)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		server.stop()
		return nil, err
	}
	ours := func(ctx context.Context) (sample, error) {
		l, err := r.wrk(ctx, server.url+"/claim-process", 1, r.period/2)
		if err != nil {
			return sample{}, err
		}
		if _, err := l.sample(); err != nil {
			return sample{}, err
		}
		return sample{value: l.p50, notes: map[string]float64{"p99 us": l.p99}}, nil
	}
	bare := func(ctx context.Context) (sample, error) {
		var took []time.Duration
		for deadline := time.Now().Add(r.period / 2); time.Now().Before(deadline); {
			started := time.Now()
			if err := bareTransaction(ctx, conn); err != nil {
				return sample{}, fmt.Errorf("bare transaction: %w", err)
			}
			took = append(took, time.Since(started))
		}
		return sample{value: percentile(took, 50), notes: map[string]float64{"p99 us": percentile(took, 99)}}, nil
	}
	return &bout{
		sides:  []side{{"claimrail", ours}, {"bare transaction", bare}},
		limits: []limit{{against: 1, most: 1.3}},
		close: func() {
			server.stop()
			_ = errors.Join(conn.Close(ctx), r.drop(ctx, url))
		},
	}, nil
}

// bareStatements write what a claim of four lines is made of, with one round trip for all.
var bareStatements = []string{
	`INSERT INTO claims.claim_keys (claim_id, seq, first_line_id, received_at, fingerprint)
		VALUES ($1::uuid, nextval('claims.claim_seq'), nextval('claims.line_ids'), now(), sha256($1::uuid::text::bytea))`,
	`INSERT INTO claims.claims (seq, received_at, first_line_id, line_count, net_fee_cents, expected_plan_payment_cents, version,
		claim_id, submitter, key_kind, key_value, external_id, warnings)
		VALUES (currval('claims.claim_seq'), now(), 1, 4, 100, 100, 1, $1, 'default', '', '', '', '')`,
	`INSERT INTO claims.lines (id, received_at, claim_seq, service_date, provider_npi, provider_fees_cents, allowed_fees_cents,
		member_coinsurance_cents, member_copay_cents, procedure, quadrant, plan_group_number, subscriber_number)
		SELECT nextval('claims.line_ids'), now(), currval('claims.claim_seq'), 0, 1497775530, 100, 100, 0, 0, 'D0180', '', 'GRP-1000', '0'
		FROM generate_series(1, 4) WHERE $1::uuid IS NOT NULL`,
	`INSERT INTO claims.claim_providers (provider_npi, claim_seq, received_at, net_fee_cents)
		SELECT 1497775530, currval('claims.claim_seq'), now(), 100 WHERE $1::uuid IS NOT NULL`,
	`INSERT INTO claims.outbox (claim_id, claim_seq, received_at, due_at, version, net_fee_cents, postings, traceparent)
		VALUES ($1, currval('claims.claim_seq'), now(), now(), 1, 100, '1497775530 100', '')`,
	`INSERT INTO claims.provider_totals AS t (provider_npi, total_net_fee_cents, claim_count)
		SELECT 1497775530, 100, 1 WHERE $1::uuid IS NOT NULL
		ON CONFLICT (provider_npi) DO UPDATE SET total_net_fee_cents = t.total_net_fee_cents + 100, claim_count = t.claim_count + 1`,
}

func bareTransaction(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	id := [16]byte(uuid.New())
	batch := &pgx.Batch{}
	for _, statement := range bareStatements {
		batch.Queue(statement, id)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return tx.Commit(ctx)
}

func openStart(_ context.Context, r *rig) (*bout, error) {
	return &bout{
		rounds: 2*r.rounds + 1,
		sides: []side{{"claimrail", func(ctx context.Context) (sample, error) {
			folder, err := r.folderFor("start")
			if err != nil {
				return sample{}, err
			}
			started := time.Now()
			server, err := r.serve(ctx, "CLAIMRAIL_DATA_DIR="+filepath.Join(folder, "data"))
			if err != nil {
				return sample{}, err
			}
			took := time.Since(started)
			server.stop()
			return sample{value: float64(took.Microseconds()) / 1000}, nil
		}}},
		limits: []limit{{most: 300, figure: true}},
	}, nil
}
