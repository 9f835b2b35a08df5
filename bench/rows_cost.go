package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTick is what /proc counts processor time in: 100 a second, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// openCost takes what a claim costs, on each part. docs/scaling.md reckons with it.
func openCost(_ context.Context, r *rig) (*bout, error) {
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
		return r.cost(ctx, server, url, strings.TrimPrefix(settings[len(settings)-1], "CLAIMRAIL_DATA_DIR="))
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
		return r.cost(ctx, server, url, "")
	}
	return &bout{rounds: 1, sides: []side{{"whole line", whole}, {"accept only", alone}}}, nil
}

// cost loads a server, lets it come to rest, and gives the processor time of a claim, in
// microseconds, with what else it took of each part. folder is where an embedded broker keeps
// its messages; without one nothing is delivered.
func (r *rig) cost(ctx context.Context, server *process, url, folder string) (sample, error) {
	if err := r.postgres.settle(ctx); err != nil {
		return sample{}, err
	}
	before, err := r.spent(ctx, server, url)
	if err != nil {
		return sample{}, err
	}
	if _, err := r.wrk(ctx, server.url+"/claim-process", manyConnections, 2*r.period); err != nil {
		return sample{}, err
	}
	if folder != "" {
		if err := waitUntil(ctx, url, countOutbox, func(count float64) bool { return count == 0 }); err != nil {
			return sample{}, err
		}
	}
	after, err := r.spent(ctx, server, url)
	if err != nil {
		return sample{}, err
	}
	claims := after.claims - before.claims
	notes := map[string]float64{
		"claims": claims, "claimrail us": (after.claimrail - before.claimrail) / claims, "postgres us": (after.postgres - before.postgres) / claims,
		"WAL bytes": (after.walBytes - before.walBytes) / claims, "WAL syncs": (after.walSyncs - before.walSyncs) / claims,
		"table bytes": after.tables / after.claims, "index bytes": after.indexes / after.claims,
	}
	if folder != "" {
		size, err := sizeOf(folder)
		if err != nil {
			return sample{}, err
		}
		notes["broker bytes"] = size / after.claims
	}
	return sample{value: notes["claimrail us"] + notes["postgres us"], notes: notes}, nil
}

// spent is what was used up to a moment: processor time in microseconds, the rest in bytes
// and calls.
type spent struct {
	claims, claimrail, postgres         float64
	walBytes, walSyncs, tables, indexes float64
}

func (r *rig) spent(ctx context.Context, server *process, url string) (s spent, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return s, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*)::float8 FROM claims.claims), wal_bytes::float8, wal_sync::float8,
		(SELECT sum(pg_table_size(c.oid))::float8 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname IN ('claims', 'payments') AND c.relkind = 'r'),
		(SELECT sum(pg_indexes_size(c.oid))::float8 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname IN ('claims', 'payments') AND c.relkind = 'r')
		FROM pg_stat_wal`).Scan(&s.claims, &s.walBytes, &s.walSyncs, &s.tables, &s.indexes)
	if err != nil {
		return s, fmt.Errorf("ask what was spent: %w", err)
	}
	if s.claimrail, err = processorTime(server.command.Process.Pid, false); err != nil {
		return s, err
	}
	s.postgres, err = processorTime(r.postgres.command.Process.Pid, true)
	return s, err
}

// processorTime gives what a process has used, in microseconds, with its children where asked,
// those that have ended included.
func processorTime(pid int, children bool) (float64, error) {
	used, _, err := readStat(pid, children)
	if err != nil || !children {
		return used, err
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range all {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		if more, parent, err := readStat(child, true); err == nil && parent == pid { // others end meanwhile
			used += more
		}
	}
	return used, nil
}

// readStat reads what a process has used, and who its parent is; see proc(5).
func readStat(pid int, ended bool) (used float64, parent int, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	// The second field is a name in parentheses, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const parentField, userField, systemField, endedUser, endedSystem = 1, 11, 12, 13, 14
	if len(fields) <= endedSystem {
		return 0, 0, fmt.Errorf("%d has no processor times", pid)
	}
	counted := []int{userField, systemField}
	if ended {
		counted = append(counted, endedUser, endedSystem)
	}
	for _, field := range counted {
		ticks, err := strconv.ParseFloat(fields[field], 64)
		if err != nil {
			return 0, 0, err
		}
		used += ticks * float64(clockTick.Microseconds())
	}
	parent, err = strconv.Atoi(fields[parentField])
	return used, parent, err
}

// sizeOf gives the bytes of all files below a folder.
func sizeOf(folder string) (bytes float64, err error) {
	err = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += float64(info.Size())
		}
		return err
	})
	return bytes, err
}
