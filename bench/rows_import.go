package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver of the prepared inserts
)

// Sizes of the rows of import.
const (
	importedClaims = 250_000
	importedLines  = importedClaims * linesOfAClaim
	largeClaims    = 2_700_000 // 1 GB
	smallClaims    = 27_000    // 10 MB
)

// table writes a CSV file of claims with so many lines each, once.
func (r *rig) table(name string, claims, lines int) (string, error) {
	path := filepath.Join(r.folder, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, writeTableOf(path, 0, claims, lines)
}

// slice writes a CSV file of claims that no other slice has.
func (r *rig) slice(n, claims int) (string, error) {
	path := filepath.Join(r.folder, fmt.Sprintf("slice-%d.csv", n))
	return path, writeTableOf(path, n*claims, claims, linesOfAClaim)
}

// writeTableOf writes claims, from the one of number first on.
func writeTableOf(path string, first, claims, lines int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(file, 1<<20)
	random := rand.New(rand.NewPCG(3, uint64(first)))
	fmt.Fprintln(out, "claim number,service date,submitted procedure,quadrant,Plan/Group #,Subscriber#,Provider NPI,"+
		"provider fees,Allowed fees,member coinsurance,member copay")
	for claim := first; claim < first+claims; claim++ {
		npi := randomNPI(random)
		for range lines {
			fees := 5000 + random.IntN(20000)
			fmt.Fprintf(out, "C-%09d,%d/%d/18 0:00,D%04d,UR,GRP-%04d,99%08d,%010d,$%d.%02d ,$%d.%02d ,$%d.%02d ,$0.00 \n",
				claim, 1+random.IntN(12), 1+random.IntN(28), random.IntN(10000), random.IntN(1000), random.IntN(1e8), npi,
				fees/100, fees%100, fees/200, fees/2%100, fees/800, fees/8%100)
		}
	}
	return errors.Join(out.Flush(), file.Close())
}

func openImport(ctx context.Context, r *rig) (*bout, error) {
	table, err := r.table("import.csv", importedClaims, linesOfAClaim)
	if err != nil {
		return nil, err
	}
	psql, err := tool("psql", "postgresql-client")
	if err != nil {
		return nil, err
	}
	var copies string // of what an import stored, as psql copies it in
	ours := func(ctx context.Context) (sample, error) {
		url, err := r.database(ctx)
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
		s, err := r.importInto(ctx, table, importedLines, "CLAIMRAIL_DATABASE_URL="+url)
		if err == nil && copies == "" {
			copies, err = r.copyOut(ctx, psql, url)
		}
		return s, err
	}
	theirs := func(ctx context.Context) (sample, error) { return r.copyIn(ctx, psql, copies) }
	return &bout{
		sides:  []side{{"claimrail import", ours}, {`psql \copy`, theirs}},
		limits: []limit{{against: 1, least: 0.8}},
	}, nil
}

// importInto imports a file and counts lines by the second, from the start of the process
// to its end.
func (r *rig) importInto(ctx context.Context, table string, lines float64, settings ...string) (sample, error) {
	if strings.HasPrefix(settings[0], "CLAIMRAIL_DATABASE_URL=") {
		if output, err := r.claimrail(ctx, append(settings, "CLAIMRAIL_ROLE=claim-process"), "migrate").CombinedOutput(); err != nil {
			return sample{}, fmt.Errorf("migrate: %w: %s", err, lastLine(output))
		}
	}
	if err := r.postgres.settle(ctx); err != nil {
		return sample{}, err
	}
	command := r.claimrail(ctx, settings, "import", table)
	started := time.Now()
	output, err := command.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("import: %w: %s", err, lastLine(output))
	}
	took := time.Since(started).Seconds()
	return sample{value: lines / took, notes: map[string]float64{
		"seconds": took, "CPU seconds": command.ProcessState.UserTime().Seconds() + command.ProcessState.SystemTime().Seconds(),
		"MB peak": peakMB(command),
	}}, nil
}

// copiedTables are those that an import fills.
var copiedTables = []string{"claim_keys", "claims", "lines", "claim_providers", "outbox", "provider_totals"}

// copyOut writes what an import stored to files.
func (r *rig) copyOut(ctx context.Context, psql, url string) (string, error) {
	folder, err := r.folderFor("copies")
	if err != nil {
		return "", err
	}
	for _, table := range copiedTables {
		text := fmt.Sprintf(`\copy claims.%s TO '%s/%s'`, table, folder, table)
		if output, err := exec.CommandContext(ctx, psql, "-q", "-v", "ON_ERROR_STOP=1", "-c", text, url).CombinedOutput(); err != nil {
			return "", fmt.Errorf("psql: %w: %s", err, lastLine(output))
		}
	}
	return folder, nil
}

// copyIn copies the same rows into the same tables, empty and with their indexes.
func (r *rig) copyIn(ctx context.Context, psql, copies string) (sample, error) {
	url, err := r.database(ctx)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = r.drop(context.WithoutCancel(ctx), url) }()
	if output, err := r.claimrail(ctx, []string{"CLAIMRAIL_DATABASE_URL=" + url, "CLAIMRAIL_ROLE=claim-process"}, "migrate").CombinedOutput(); err != nil {
		return sample{}, fmt.Errorf("migrate: %w: %s", err, lastLine(output))
	}
	if err := r.postgres.settle(ctx); err != nil {
		return sample{}, err
	}
	started := time.Now()
	for _, table := range copiedTables {
		text := fmt.Sprintf(`\copy claims.%s FROM '%s/%s'`, table, copies, table)
		if output, err := exec.CommandContext(ctx, psql, "-q", "-v", "ON_ERROR_STOP=1", "-c", text, url).CombinedOutput(); err != nil {
			return sample{}, fmt.Errorf("psql: %w: %s", err, lastLine(output))
		}
	}
	took := time.Since(started).Seconds()
	return sample{value: importedLines / took, notes: map[string]float64{"seconds": took}}, nil
}

func openImportSQLite(_ context.Context, r *rig) (*bout, error) {
	table, err := r.table("import.csv", importedClaims, linesOfAClaim)
	if err != nil {
		return nil, err
	}
	ours := func(ctx context.Context) (sample, error) {
		folder, err := r.folderFor("sqlite")
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = os.RemoveAll(folder) }()
		return r.importInto(ctx, table, importedLines, "CLAIMRAIL_DATA_DIR="+folder)
	}
	return &bout{
		sides:  []side{{"claimrail import", ours}, {"prepared inserts", r.preparedInserts}},
		limits: []limit{{figure: true, least: 150_000}, {against: 1, least: 0.5}},
	}, nil
}

// preparedInserts is the limit of SQLite: the lines alone, 50 to a statement and 2,000 to a transaction.
func (r *rig) preparedInserts(ctx context.Context) (_ sample, err error) {
	const rows, transaction = 50, 2000
	folder, err := r.folderFor("prepared")
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	db, err := sql.Open("sqlite", filepath.Join(folder, "lines.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `CREATE TABLE lines (id INTEGER PRIMARY KEY, claim_seq INTEGER, service_date INTEGER, procedure TEXT,
		quadrant TEXT, plan_group_number TEXT, subscriber_number TEXT, provider_npi INTEGER, a INTEGER, b INTEGER, c INTEGER, d INTEGER)`); err != nil {
		return sample{}, err
	}
	insert, err := db.PrepareContext(ctx, "INSERT INTO lines VALUES "+strings.TrimSuffix(strings.Repeat("(?,?,?,?,?,?,?,?,?,?,?,?),", rows), ","))
	if err != nil {
		return sample{}, err
	}
	started := time.Now()
	values := make([]any, 0, 12*rows)
	for id := 0; id < importedLines; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return sample{}, err
		}
		statement := tx.StmtContext(ctx, insert)
		for range transaction / rows {
			values = values[:0]
			for range rows {
				id++
				values = append(values, id, id/4, 1522195200, "D0180", "UR", "GRP-1000", "9912345678", 1497775530, 10000, 5000, 1250, 0)
			}
			if _, err := statement.ExecContext(ctx, values...); err != nil {
				return sample{}, errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return sample{}, err
		}
	}
	return sample{value: importedLines / time.Since(started).Seconds()}, nil
}

func openMemory(_ context.Context, r *rig) (*bout, error) {
	measure := func(name string, claims int) func(context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) {
			table, err := r.table(name, claims, linesOfAClaim)
			if err != nil {
				return sample{}, err
			}
			info, err := os.Stat(table)
			if err != nil {
				return sample{}, err
			}
			folder, err := r.folderFor("memory")
			if err != nil {
				return sample{}, err
			}
			defer func() { _ = os.RemoveAll(folder) }()
			s, err := r.importInto(ctx, table, float64(claims*linesOfAClaim), "CLAIMRAIL_DATA_DIR="+folder)
			return sample{value: s.notes["MB peak"], notes: map[string]float64{"file MB": float64(info.Size()) / 1e6, "lines/s": s.value}}, err
		}
	}
	return &bout{
		rounds: 1,
		sides:  []side{{"1 GB", measure("large.csv", largeClaims)}, {"10 MB", measure("small.csv", smallClaims)}},
		limits: []limit{{figure: true, most: 150}, {against: 1, most: 1.2}},
		close:  func() { _ = os.Remove(filepath.Join(r.folder, "large.csv")) },
	}, nil
}

// peakMB gives the peak resident memory of a command that ended.
func peakMB(command *exec.Cmd) float64 {
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok || runtime.GOOS != "linux" {
		return 0
	}
	return float64(usage.Maxrss) / 1000 // of kilobytes
}

// residentMB gives the resident memory of a process.
func residentMB(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kilobytes float64
	if _, err := fmt.Sscanf(rest, "%g", &kilobytes); err != nil {
		return 0
	}
	return kilobytes / 1000
}
