package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

// Whoever cancels an import ends it wherever it is, and its runner learns of that. One that
// has ended stays as it is.
func importCancelled(t *testing.T, f *fixture) {
	for _, state := range []store.ImportState{store.ImportReceiving, store.ImportQueued, store.ImportRunning} {
		i := f.create(t, store.Import{State: state})
		if state == store.ImportRunning {
			if err := f.ReportImport(t.Context(), i.ID, 1, "csv", someTally(), after(time.Hour)); err != nil {
				t.Fatal(err)
			}
			i.Format, i.Tally = "csv", notAccepted(someTally())
			i.Claims = store.Fates{Read: 9, Duplicate: 4, Rejected: 5}
			i.Lines = store.Fates{Read: 17, Duplicate: 8, Rejected: 9}
			i.LeasedUntil = after(time.Hour) // its runner may still write
		}
		i.State, i.FinishedAt = store.ImportCancelled, after(time.Minute)
		for _, at := range []time.Duration{time.Minute, time.Hour} {
			got, err := f.CancelImport(t.Context(), i.ID, after(at))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "cancelled", got, i)
		}
		wantLost(t, "queue", f.QueueImport(t.Context(), i.ID, hashA, 1))
		wantLost(t, "report", f.ReportImport(t.Context(), i.ID, 1, "", store.Tally{}, after(time.Hour)))
		if state != store.ImportRunning {
			wantLost(t, "part", f.AppendPart(t.Context(), i.ID, i.Run, store.InputPart, 0, []byte("x")))
		}
	}
	f.nothingToTake(t, after(24*time.Hour))
	if _, err := f.CancelImport(t.Context(), uuid.New(), noon()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such import: got %v, want %v", err, store.ErrNotFound)
	}
}

// The runner of an import that was cancelled, and no other, still keeps what it has found, and says
// its counts once. Then, or once it is forgotten, the import stays as it is.
func importCancelledEnds(t *testing.T, f *fixture) {
	running := f.create(t, store.Import{})
	end := running
	end.State = store.ImportCancelled
	wantLost(t, "the end of one that runs", f.FinishImport(t.Context(), end, noon()))
	if _, err := f.CancelImport(t.Context(), running.ID, after(time.Second)); err != nil {
		t.Fatal(err)
	}
	f.keep(t, running, store.RejectsPart, "a", "b")
	if err := f.DropParts(t.Context(), running.ID, 1, store.RejectsPart, 1); err != nil {
		t.Error(err)
	}
	same(t, "rejects", f.parts(t, running.ID, store.RejectsPart), []string{"a"})
	wantLost(t, "part of another run", f.AppendPart(t.Context(), running.ID, 2, store.RejectsPart, 0, []byte("x")))
	other := end
	other.Run = 2
	wantLost(t, "end of another run", f.FinishImport(t.Context(), other, after(time.Hour)))
	done := end
	done.State = store.ImportDone
	wantLost(t, "another end", f.FinishImport(t.Context(), done, after(time.Hour)))
	end.Format, end.Tally = "csv", someTally()
	for range 2 {
		if err := f.FinishImport(t.Context(), end, after(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	end.FinishedAt, end.LeasedUntil, end.Tally = after(time.Second), time.Time{}, notAccepted(end.Tally)
	end.Claims.Read, end.Lines.Read = 9, 17
	same(t, "ended", f.imported(t, end.ID), end)
	wantLost(t, "part behind its end", f.AppendPart(t.Context(), end.ID, 1, store.RejectsPart, 0, []byte("x")))

	left := f.create(t, store.Import{})
	if _, err := f.CancelImport(t.Context(), left.ID, noon()); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Forget(t.Context(), after(time.Microsecond), after(time.Microsecond)); err != nil || got != 1 {
		t.Fatalf("forget: got %d, %v, want 1", got, err)
	}
	wantLost(t, "part of one that is forgotten", f.AppendPart(t.Context(), left.ID, 1, store.RejectsPart, 0, []byte("x")))
}
