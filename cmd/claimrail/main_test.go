package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
)

// updateFlag has goldens written instead of compared.
const updateFlag = "update"

// sharedClaims holds the example files, where a checkout of them lies beside this one.
const sharedClaims = "../../../shared/data/claims"

// readyTimeout bounds the wait for a server that starts.
const readyTimeout = 30 * time.Second

func TestMain(m *testing.M) {
	flag.Bool(updateFlag, false, "write the goldens instead of comparing them")
	testscript.Main(m, map[string]func(){"claimrail": main})
}

// The scripts specify the command line: what each command writes, where, and its exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	shared, err := filepath.Abs(sharedClaims)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SHARED_CLAIMS", shared)
			e.Setenv("USER", "tester")
			return nil
		},
		Condition: func(condition string) (bool, error) {
			if condition == "shared" {
				_, err := os.Stat(shared)
				return err == nil, nil
			}
			return false, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  checkCode,
			"park":  park,
			"ready": waitReady,
		},
		RequireExplicitExec: true,
	})
}

// checkCode runs claimrail and checks its exit code: code WANT ARG...
func checkCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("claimrail", args[1:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	want := args[0]
	if want != "0" {
		want = "exit status " + want
	}
	if got != want {
		ts.Fatalf("claimrail %q: got %s, want %s", args[1:], got, want)
	}
}

// park parks the message of a claim that nobody knows: park DIR NUMBER [NPI...].
func park(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	ledger, err := sqliteledger.Open(ctx, ts.MkAbs(filepath.Join(args[0], paymentsFile)), slog.New(slog.DiscardHandler))
	ts.Check(err)
	key := event.Key{ClaimID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(args[1])), Version: 1}
	ts.Check(ledger.Park(ctx, payment.DeadLetter{
		MessageID: key.String() + ".0", Ref: event.Ref{Key: key}, NetFee: 8125, Reason: payment.ReasonFailed, Providers: args[2:],
		Error: "the provider is not known", Attempts: payment.MaxAttempts, ParkedAt: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC),
	}))
	ts.Check(ledger.Close())
}

// waitReady waits until the server on a data directory is ready, and puts its URL into the
// variable SERVER: ready DIR.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(readyTimeout)
	defer late.Stop()
	for {
		if url := readHolder(ts.MkAbs(args[0])).url; url != "" {
			answer, err := http.Get(url + "/readyz")
			if err == nil {
				_ = answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					ts.Setenv("SERVER", url)
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-late.C:
			ts.Fatalf("no server on %s is ready after %v", args[0], readyTimeout)
		}
	}
}
