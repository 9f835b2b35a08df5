package sqlitestore_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
	"github.com/claimrail/claimrail/internal/store/storetest"
)

// The SQLite engine keeps the contract of package store.
func TestContract(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	storetest.Run(t, func(t *testing.T) store.Engine {
		t.Helper()
		return open(t, filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "+")+".db"))
	})
}

func open(t *testing.T, path string) *sqlitestore.Store {
	t.Helper()
	engine, err := sqlitestore.Open(context.Background(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// Claims hold PHI: nobody but the owner reads the file, its log or their folder.
func TestFilesAreClosedToOthers(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	engine := open(t, filepath.Join(folder, "claims.db"))
	defer func() { _ = engine.Close() }()
	for name, want := range map[string]fs.FileMode{
		folder: 0o700 | fs.ModeDir, filepath.Join(folder, "claims.db"): 0o600, filepath.Join(folder, "claims.db-wal"): 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want mode %v", name, info, err, want)
		}
	}
}
