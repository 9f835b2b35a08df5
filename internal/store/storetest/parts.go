package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

func partsChecks() []check {
	return []check{
		{"kept in order", partsKept},
		{"replaced and dropped", partsReplaced},
		{"out of bounds", partsOutOfBounds},
		{"of whom they may be", partsOfARun},
		{"held while they come in", importHeld},
		{"forgotten", partsForgotten},
		{"many are forgotten", manyPartsForgotten},
	}
}

// parts reads a file of an import, part by part.
func (f *fixture) parts(t *testing.T, id uuid.UUID, kind store.PartKind) []string {
	t.Helper()
	parts := []string{}
	for {
		body, err := f.Part(t.Context(), id, kind, len(parts))
		if errors.Is(err, store.ErrNotFound) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(body))
	}
}

// keep keeps the parts of a file, from 0.
func (f *fixture) keep(t *testing.T, i store.Import, kind store.PartKind, parts ...string) {
	t.Helper()
	run := i.Run
	if i.State == store.ImportReceiving {
		run = 0
	}
	for n, part := range parts {
		if err := f.AppendPart(t.Context(), i.ID, run, kind, n, []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
}

// Parts come back in their order, whatever bytes they hold, each kind and each import for
// itself.
func partsKept(t *testing.T, f *fixture) {
	largest := string(bytes.Repeat([]byte{0, 0xff, 'x', '\n'}, store.MaxPartBytes/4))
	one, two := f.create(t, store.Import{}), f.create(t, store.Import{})
	f.keep(t, one, store.FaultsPart, "fault")
	f.keep(t, one, store.RejectsPart, largest, "\x00", "behind")
	f.keep(t, two, store.RejectsPart, "other")
	f.keep(t, two, store.AcknowledgementPart, "999")
	same(t, "rejects", f.parts(t, one.ID, store.RejectsPart), []string{largest, "\x00", "behind"})
	same(t, "faults", f.parts(t, one.ID, store.FaultsPart), []string{"fault"})
	same(t, "rejects of another", f.parts(t, two.ID, store.RejectsPart), []string{"other"})
	same(t, "acknowledgement", f.parts(t, two.ID, store.AcknowledgementPart), []string{"999"})
	same(t, "none", f.parts(t, one.ID, store.AcknowledgementPart), []string{})
	same(t, "of no import", f.parts(t, uuid.New(), store.RejectsPart), []string{})
}

// A later run writes its files over those of the one before, and drops what is behind.
func partsReplaced(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{})
	f.keep(t, i, store.RejectsPart, "a", "b", "c", "d")
	f.keep(t, i, store.FaultsPart, "f", "g")
	f.keep(t, i, store.RejectsPart, "A", "B")
	if err := f.DropParts(t.Context(), i.ID, 1, store.RejectsPart, 3); err != nil {
		t.Fatal(err)
	}
	same(t, "replaced", f.parts(t, i.ID, store.RejectsPart), []string{"A", "B", "c"})
	if err := f.DropParts(t.Context(), i.ID, 1, store.RejectsPart, 0); err != nil {
		t.Fatal(err)
	}
	same(t, "dropped", f.parts(t, i.ID, store.RejectsPart), []string{})
	same(t, "the other file", f.parts(t, i.ID, store.FaultsPart), []string{"f", "g"})
}

// A part has a place and a size, and both have limits.
func partsOutOfBounds(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{})
	for _, part := range []struct {
		n, size int
		kind    store.PartKind
	}{
		{-1, 1, store.RejectsPart},
		{store.MaxParts, 1, store.RejectsPart},
		{0, 0, store.RejectsPart},
		{0, store.MaxPartBytes + 1, store.RejectsPart},
		{0, 1, "other"},
	} {
		err := f.AppendPart(t.Context(), i.ID, 1, part.kind, part.n, make([]byte, part.size))
		if err == nil || errors.Is(err, store.ErrLostImport) {
			t.Errorf("part %+v: got %v, want an error of no kind", part, err)
		}
	}
	if err := f.AppendPart(t.Context(), i.ID, 1, store.RejectsPart, store.MaxParts-1, []byte("x")); err != nil {
		t.Errorf("last part: %v", err)
	}
}

// While an import is received its bytes come from nobody's run; later only its runner's do.
func partsOfARun(t *testing.T, f *fixture) {
	keep := func(i store.Import, run int) error {
		return f.AppendPart(t.Context(), i.ID, run, store.InputPart, 0, []byte("x"))
	}
	receiving := f.create(t, store.Import{State: store.ImportReceiving})
	wantLost(t, "receiving, run 1", keep(receiving, 1))
	if err := keep(receiving, 0); err != nil {
		t.Errorf("receiving: %v", err)
	}
	queued := f.create(t, store.Import{State: store.ImportQueued})
	wantLost(t, "queued", keep(queued, 0))
	running := f.create(t, store.Import{})
	wantLost(t, "running, run 0", keep(running, 0))
	wantLost(t, "running, run 2", keep(running, 2))
	wantLost(t, "drop, run 2", f.DropParts(t.Context(), running.ID, 2, store.InputPart, 0))
	wantLost(t, "no such import", keep(store.Import{ID: uuid.New()}, 0))
}

// While its bytes come in an import has a lease, which can be extended, and which forgets it once
// it is over; when all of them are here it has none.
func importHeld(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{State: store.ImportReceiving, LeasedUntil: after(time.Minute)})
	same(t, "created", f.imported(t, i.ID), i)
	i.LeasedUntil = after(time.Hour)
	for range 2 {
		if err := f.HoldImport(t.Context(), i.ID, i.LeasedUntil); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "held", f.imported(t, i.ID), i)
	for want, at := range []time.Duration{-time.Microsecond, 0} {
		lost := f.create(t, store.Import{State: store.ImportReceiving, LeasedUntil: after(time.Minute)})
		f.keep(t, lost, store.InputPart, "x")
		now := after(time.Minute + at)
		if got, err := f.Forget(t.Context(), after(-time.Hour), now); err != nil || got != want {
			t.Errorf("forget at %s: got %d, %v, want %d", now, got, err, want)
		}
		if got := f.imported(t, lost.ID); got.Forgotten != (want > 0) || got.Forgotten && (got.State != store.ImportFailed || !got.LeasedUntil.IsZero()) {
			t.Errorf("forget at %s: got %+v", now, got)
		}
		if _, err := f.CancelImport(t.Context(), lost.ID, now); err != nil {
			t.Fatal(err)
		}
	}
	// However long it takes, while somebody holds it; the one that was cancelled goes.
	if got, err := f.Forget(t.Context(), after(30*time.Minute), after(time.Hour-time.Microsecond)); err != nil || got != 1 {
		t.Errorf("forget the others: got %d, %v, want 1", got, err)
	}
	if err := f.QueueImport(t.Context(), i.ID, hashA, 1); err != nil {
		t.Fatal(err)
	}
	i.State, i.SHA256, i.Bytes, i.LeasedUntil = store.ImportQueued, hashA, 1, time.Time{}
	same(t, "queued", f.imported(t, i.ID), i)
	wantLost(t, "hold one that waits", f.HoldImport(t.Context(), i.ID, after(time.Hour)))
	wantLost(t, "hold none", f.HoldImport(t.Context(), uuid.New(), after(time.Hour)))
}

// Some time after its end an import loses its parts, and stays itself. One that was never
// received to its end fails then; one that goes on keeps all.
func partsForgotten(t *testing.T, f *fixture) {
	ended := func(name string, at time.Time) store.Import {
		i := f.create(t, store.Import{Name: name})
		f.keep(t, i, store.RejectsPart, name)
		f.keep(t, i, store.InputPart, name)
		i.State = store.ImportDone
		if err := f.FinishImport(t.Context(), i, at); err != nil {
			t.Fatal(err)
		}
		return f.imported(t, i.ID)
	}
	old, recent := ended("old", after(-1)), ended("recent", noon())
	stuck := f.create(t, store.Import{State: store.ImportReceiving, CreatedAt: after(-time.Microsecond)})
	receiving := f.create(t, store.Import{State: store.ImportReceiving, CreatedAt: noon()})
	running := f.create(t, store.Import{CreatedAt: after(-time.Hour)})
	queued := f.create(t, store.Import{State: store.ImportQueued, CreatedAt: after(-time.Hour)})
	for _, i := range []store.Import{stuck, receiving, running} {
		f.keep(t, i, store.InputPart, "x")
	}
	for _, want := range []int{2, 0} {
		if got, err := f.Forget(t.Context(), noon(), after(time.Hour)); err != nil || got != want {
			t.Errorf("forget: got %d, %v, want %d", got, err, want)
		}
	}
	old.Forgotten = true
	stuck.Forgotten, stuck.State, stuck.Error, stuck.FinishedAt = true, store.ImportFailed, store.NeverReceived, after(time.Hour)
	for _, i := range []store.Import{old, stuck} {
		same(t, "forgotten", f.imported(t, i.ID), i)
		same(t, "its input", f.parts(t, i.ID, store.InputPart), []string{})
		same(t, "its rejects", f.parts(t, i.ID, store.RejectsPart), []string{})
	}
	for _, i := range []store.Import{recent, receiving, running, queued} {
		same(t, "kept", f.imported(t, i.ID), i)
	}
	for _, i := range []store.Import{recent, receiving, running} {
		if got := f.parts(t, i.ID, store.InputPart); len(got) != 1 {
			t.Errorf("input of import %q, %s: got %q, want one part", i.Name, i.State, got)
		}
	}
}

// All parts go, also where they are more than one transaction removes, and so do those that
// are dropped.
func manyPartsForgotten(t *testing.T, f *fixture) {
	parts := make([]string, 150)
	for n := range parts {
		parts[n] = fmt.Sprint(n)
	}
	i := f.create(t, store.Import{})
	f.keep(t, i, store.RejectsPart, parts...)
	f.keep(t, i, store.FaultsPart, parts...)
	if err := f.DropParts(t.Context(), i.ID, 1, store.FaultsPart, 10); err != nil {
		t.Fatal(err)
	}
	same(t, "dropped", f.parts(t, i.ID, store.FaultsPart), parts[:10])
	same(t, "the other file", f.parts(t, i.ID, store.RejectsPart), parts)
	if _, err := f.CancelImport(t.Context(), i.ID, noon()); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Forget(t.Context(), after(time.Microsecond), after(time.Microsecond)); err != nil || got != 1 {
		t.Fatalf("forget: got %d, %v, want 1", got, err)
	}
	for n := range parts {
		if _, err := f.Part(t.Context(), i.ID, store.RejectsPart, n); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("part %d, forgotten: got %v, want %v", n, err, store.ErrNotFound)
		}
	}
	if !f.imported(t, i.ID).Forgotten {
		t.Error("the import does not say that its parts are gone")
	}
}
