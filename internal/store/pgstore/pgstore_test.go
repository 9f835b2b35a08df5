package pgstore_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
	"github.com/claimrail/claimrail/internal/store/storetest"
)

// The Postgres engine keeps the contract of package store.
func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, perTest(pgtest.Start(t).Template(t, func(url string) { migrate(t, url) })))
}

// perTest opens, for each test, a copy of the template, and the same again for the same
// test. The template has no identity secret, so that no two copies share one.
func perTest(template *pgtest.Template) func(t *testing.T) store.Engine {
	var mutex sync.Mutex
	urls := map[string]string{}
	return func(t *testing.T) store.Engine {
		t.Helper()
		mutex.Lock()
		url := urls[t.Name()]
		if url == "" {
			url = template.Clone(t)
			urls[t.Name()] = url
		}
		mutex.Unlock()
		return open(t, url)
	}
}

// migrate makes the schema, without a secret.
func migrate(t *testing.T, url string) {
	t.Helper()
	if err := open(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "DELETE FROM claims.identity")
}

func open(t *testing.T, url string) *pgstore.Store {
	t.Helper()
	engine, err := pgstore.Open(context.Background(), pgstore.Options{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return engine
}
