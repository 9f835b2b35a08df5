package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

func importsChecks() []check {
	return []check{
		{"created", importCreated},
		{"refused", importRefused},
		{"queued", importQueued},
		{"taken, the oldest first", importTaken},
		{"taken by one of many", importTakenAtOnce},
		{"taken over from a lost runner", importTakenOver},
		{"resumed", importResumed},
		{"found by its hash", importUnfinished},
		{"reported", importReported},
		{"done", importDone},
		{"failed", importFailed},
		{"cancelled", importCancelled},
		{"cancelled, and ended by its runner", importCancelledEnds},
		{"listed", importsListed},
	}
}

// hashA is the hash of some file.
const hashA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// create adds an import; what is not said of it is filled in.
func (f *fixture) create(t *testing.T, i store.Import) store.Import {
	t.Helper()
	i.ID = uuid.Must(uuid.NewV7())
	if i.State == "" {
		i.State = store.ImportRunning
	}
	if i.CreatedAt.IsZero() {
		i.CreatedAt = noon()
	}
	if i.State == store.ImportRunning {
		i.Run, i.StartedAt = 1, i.CreatedAt
		if i.LeasedUntil.IsZero() {
			i.LeasedUntil = i.CreatedAt.Add(time.Minute)
		}
	} else {
		i.Kept = true
	}
	if err := f.CreateImport(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	i.Cursor = f.imported(t, i.ID).Cursor
	return i
}

// imported reads the import back.
func (f *fixture) imported(t *testing.T, id uuid.UUID) store.Import {
	t.Helper()
	found, err := f.Import(t.Context(), id)
	if err != nil {
		t.Fatalf("read import: %v", err)
	}
	return found
}

// wantLost demands that another run, or none, has the import.
func wantLost(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrLostImport) {
		t.Errorf("%s: got %v, want %v", what, err, store.ErrLostImport)
	}
}

// An import is kept as it was created, in UTC and to the microsecond. The same again, as
// after a commit of unknown outcome, changes nothing.
func importCreated(t *testing.T, f *fixture) {
	for _, i := range []store.Import{
		{State: store.ImportReceiving, Name: "märz.csv", Format: "csv", DryRun: true, StopOnError: true},
		{State: store.ImportQueued, SHA256: hashA, Bytes: 1 << 40},
		{State: store.ImportRunning, SHA256: hashA, Bytes: 7, Name: strings.Repeat("x", store.MaxImportName)},
		{State: store.ImportRunning, Kept: true},
	} {
		i.CreatedAt = noon().In(time.FixedZone("", 3600))
		created := f.create(t, i)
		want := created
		want.CreatedAt = noon()
		if i.State == store.ImportRunning {
			want.StartedAt, want.LeasedUntil = noon(), after(time.Minute)
		}
		same(t, "created", f.imported(t, created.ID), want)
		created.Name, created.State = "other", store.ImportQueued
		created.Kept = true
		if err := f.CreateImport(t.Context(), created); err != nil {
			t.Errorf("the same id again: %v", err)
		}
		same(t, "created again", f.imported(t, created.ID), want)
	}
	if _, err := f.Import(t.Context(), uuid.New()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such import: got %v, want %v", err, store.ErrNotFound)
	}
}

// What could not be an import is refused.
func importRefused(t *testing.T, f *fixture) {
	good := store.Import{State: store.ImportQueued, Kept: true, CreatedAt: noon(), LeasedUntil: after(1)}
	for name, spoil := range map[string]func(i *store.Import){
		"a state to end in":     func(i *store.Import) { i.State = store.ImportDone },
		"no state":              func(i *store.Import) { i.State = "" },
		"queued, not kept":      func(i *store.Import) { i.Kept = false },
		"running without lease": func(i *store.Import) { i.State, i.LeasedUntil = store.ImportRunning, noon() },
		"a long name":           func(i *store.Import) { i.Name = strings.Repeat("x", store.MaxImportName+1) },
		"a name with NUL":       func(i *store.Import) { i.Name = "a\x00" },
		"a name not of UTF-8":   func(i *store.Import) { i.Name = "\xff" },
		"a short hash":          func(i *store.Import) { i.SHA256 = hashA[1:] },
		"a hash not of hex":     func(i *store.Import) { i.SHA256 = "X" + hashA[1:] },
		"less than no bytes":    func(i *store.Import) { i.Bytes = -1 },
	} {
		i := good
		i.ID = uuid.New()
		spoil(&i)
		if err := f.CreateImport(t.Context(), i); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	page, err := f.Imports(t.Context(), 0, 10)
	if err != nil || len(page) != 0 {
		t.Errorf("imports: got %v, %v, want none", page, err)
	}
}

// Once its bytes are here an import waits, under their hash. To say so twice is one thing,
// to say something else of it another.
func importQueued(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{State: store.ImportReceiving})
	for range 2 {
		if err := f.QueueImport(t.Context(), i.ID, hashA, 12); err != nil {
			t.Fatal(err)
		}
	}
	i.State, i.SHA256, i.Bytes = store.ImportQueued, hashA, 12
	same(t, "queued", f.imported(t, i.ID), i)
	wantLost(t, "another size", f.QueueImport(t.Context(), i.ID, hashA, 13))
	wantLost(t, "no such import", f.QueueImport(t.Context(), uuid.New(), hashA, 12))
	same(t, "still queued", f.imported(t, i.ID), i)
}

// takeOldest takes an import for a minute.
func (f *fixture) takeOldest(t *testing.T, at time.Time) store.Import {
	t.Helper()
	taken, err := f.TakeImport(t.Context(), at, at.Add(time.Minute))
	if err != nil {
		t.Fatalf("take import: %v", err)
	}
	return taken
}

// nothingToTake demands that no import waits at the time.
func (f *fixture) nothingToTake(t *testing.T, at time.Time) {
	t.Helper()
	if taken, err := f.TakeImport(t.Context(), at, at.Add(time.Minute)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("take import: got %+v, %v, want %v", taken, err, store.ErrNotFound)
	}
}

// Of the imports that wait the oldest is taken; one that is received or whose file is with
// its runner, and one that is leased, is not.
func importTaken(t *testing.T, f *fixture) {
	f.nothingToTake(t, noon())
	f.create(t, store.Import{State: store.ImportReceiving})
	f.create(t, store.Import{LeasedUntil: after(time.Second)}) // its runner has the file
	first := f.create(t, store.Import{State: store.ImportQueued, Name: "first"})
	second := f.create(t, store.Import{State: store.ImportQueued, Name: "second"})
	at := after(time.Hour)
	for _, want := range []store.Import{first, second} {
		want.State, want.Run, want.StartedAt, want.LeasedUntil = store.ImportRunning, 1, at, at.Add(time.Minute)
		same(t, "taken", f.takeOldest(t, at), want)
		same(t, "read back", f.imported(t, want.ID), want)
	}
	f.nothingToTake(t, at)
}

// Of many runners that look at the same time, on two instances, no two get the same import.
func importTakenAtOnce(t *testing.T, f *fixture) {
	const imports, runners = 30, 6
	for range imports {
		f.create(t, store.Import{State: store.ImportQueued})
	}
	instances := []*fixture{f, f.reopen(t)}
	var mutex sync.Mutex
	runs := map[uuid.UUID]int{}
	var wait sync.WaitGroup
	for r := range runners {
		wait.Go(func() {
			for {
				taken, err := instances[r%2].TakeImport(t.Context(), noon(), after(time.Minute))
				if errors.Is(err, store.ErrNotFound) {
					// What another one is just taking is not waited for.
					mutex.Lock()
					all := len(runs) == imports
					mutex.Unlock()
					if all {
						return
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mutex.Lock()
				runs[taken.ID] += taken.Run
				mutex.Unlock()
			}
		})
	}
	wait.Wait()
	for id, run := range runs {
		if run != 1 {
			t.Errorf("import %s: taken %d times, want once", id, run)
		}
	}
}

// An import whose lease is over goes to another runner, with its tally as it was; what the
// first one still says of it does not count.
func importTakenOver(t *testing.T, f *fixture) {
	queued := f.create(t, store.Import{State: store.ImportQueued})
	first := f.takeOldest(t, noon())
	tally := store.Tally{ReadBytes: 9, Claims: store.Fates{Read: 3, Rejected: 3}, Lines: store.Fates{Read: 5, Rejected: 5}}
	if err := f.ReportImport(t.Context(), first.ID, first.Run, "csv", tally, after(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	f.nothingToTake(t, after(2*time.Minute-time.Microsecond))
	second := f.takeOldest(t, after(2*time.Minute))
	if second.ID != queued.ID || second.Run != 2 || !second.StartedAt.Equal(noon()) {
		t.Errorf("taken over: got %+v, want run 2 of what began at noon", second)
	}
	same(t, "tally", second.Tally, tally)

	wantLost(t, "report", f.ReportImport(t.Context(), first.ID, first.Run, "x12", store.Tally{}, after(time.Hour)))
	first.State = store.ImportFailed
	wantLost(t, "finish", f.FinishImport(t.Context(), first, after(time.Hour)))
	wantLost(t, "part", f.AppendPart(t.Context(), first.ID, first.Run, store.RejectsPart, 0, []byte("x")))
	wantLost(t, "drop", f.DropParts(t.Context(), first.ID, first.Run, store.RejectsPart, 0))
	same(t, "the second run's", f.imported(t, queued.ID), second)
	if err := f.ReportImport(t.Context(), second.ID, second.Run, "csv", store.Tally{}, after(time.Hour)); err != nil {
		t.Errorf("report of the second run: %v", err)
	}
	wantLost(t, "report on no import", f.ReportImport(t.Context(), uuid.New(), 1, "", store.Tally{}, noon()))
}

// A runner that has the file takes its import up again, but not from one that is alive.
func importResumed(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{SHA256: hashA})
	_, err := f.ResumeImport(t.Context(), i.ID, i.LeasedUntil.Add(-time.Microsecond), after(time.Hour))
	wantLost(t, "leased", err)
	resumed, err := f.ResumeImport(t.Context(), i.ID, i.LeasedUntil, after(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	i.Run, i.LeasedUntil = 2, after(time.Hour)
	same(t, "resumed", resumed, i)
	same(t, "read back", f.imported(t, i.ID), i)
	queued := f.create(t, store.Import{State: store.ImportQueued})
	if resumed, err = f.ResumeImport(t.Context(), queued.ID, noon(), after(time.Hour)); err != nil || resumed.Run != 1 {
		t.Errorf("queued: got %+v, %v, want run 1", resumed, err)
	}
	if _, err := f.CancelImport(t.Context(), i.ID, noon()); err != nil {
		t.Fatal(err)
	}
	_, err = f.ResumeImport(t.Context(), i.ID, after(2*time.Hour), after(3*time.Hour))
	wantLost(t, "ended", err)
	_, err = f.ResumeImport(t.Context(), f.create(t, store.Import{State: store.ImportReceiving}).ID, noon(), after(time.Hour))
	wantLost(t, "receiving", err)
	if _, err := f.ResumeImport(t.Context(), uuid.New(), noon(), after(time.Hour)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such import: got %v, want %v", err, store.ErrNotFound)
	}
}

// The newest unfinished import of a file is found by its hash, if its runner has the file.
func importUnfinished(t *testing.T, f *fixture) {
	wantNone := func(what string) {
		t.Helper()
		if found, err := f.UnfinishedImport(t.Context(), hashA); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: got %+v, %v, want %v", what, found, err, store.ErrNotFound)
		}
	}
	f.create(t, store.Import{SHA256: hashA, DryRun: true})
	f.create(t, store.Import{SHA256: hashA, Kept: true})
	f.create(t, store.Import{SHA256: strings.Repeat("0", 64)})
	f.create(t, store.Import{State: store.ImportQueued, SHA256: hashA})
	wantNone("others")
	f.create(t, store.Import{SHA256: hashA, Name: "older"})
	newest := f.create(t, store.Import{SHA256: hashA, Name: "newer"})
	found, err := f.UnfinishedImport(t.Context(), hashA)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "found", found, newest)
	for range 2 {
		if found, err = f.UnfinishedImport(t.Context(), hashA); err != nil {
			t.Fatal(err)
		}
		if _, err := f.CancelImport(t.Context(), found.ID, noon()); err != nil {
			t.Fatal(err)
		}
	}
	wantNone("ended")
}

// someTally is a tally of which nothing adds up.
func someTally() store.Tally {
	return store.Tally{
		ReadBytes: 1, Claims: store.Fates{Read: 20, Accepted: 3, Duplicate: 4, Rejected: 5},
		Lines: store.Fates{Read: 60, Accepted: 7, Duplicate: 8, Rejected: 9}, Warnings: 10, NetFee: -11, AcceptedNetFee: 20, PartFaults: 21,
	}
}

// notAccepted takes out of a tally what only Accept counts.
func notAccepted(t store.Tally) store.Tally {
	t.Claims.Accepted, t.Lines.Accepted = 0, 0
	t.NetFee, t.AcceptedNetFee = t.NetFee-t.AcceptedNetFee, 0
	return t
}

// A report sets all but what was accepted, which it sets of a dry run alone: no claim of
// one is ever stored, so nobody else counts them.
func importReported(t *testing.T, f *fixture) {
	for _, dry := range []bool{false, true} {
		i := f.create(t, store.Import{DryRun: dry})
		if err := f.ReportImport(t.Context(), i.ID, 1, "ndjson", someTally(), after(time.Hour)); err != nil {
			t.Fatal(err)
		}
		i.Format, i.LeasedUntil, i.Tally = "ndjson", after(time.Hour), someTally()
		if !dry {
			i.Tally = notAccepted(i.Tally)
		}
		same(t, fmt.Sprint("dry run ", dry), f.imported(t, i.ID), i)
		negative := someTally()
		negative.Lines.Duplicate = -1
		if err := f.ReportImport(t.Context(), i.ID, 1, "csv", negative, after(time.Hour)); err == nil {
			t.Error("less than no duplicates: no error")
		}
		same(t, "after a bad report", f.imported(t, i.ID), i)
	}
}

// An import is done when it adds up, and not before: a runner that has miscounted learns so.
// To finish it twice, as after a commit of unknown outcome, is one thing.
func importDone(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{})
	i.State, i.Format = store.ImportDone, "csv"
	for _, wrong := range []store.Tally{
		{Claims: store.Fates{Read: 9, Duplicate: 4, Rejected: 4}, Lines: store.Fates{Read: 2, Rejected: 2}},
		{Claims: store.Fates{Read: 8, Duplicate: 4, Rejected: 4}, Lines: store.Fates{Read: 1, Rejected: 2}},
		{Claims: store.Fates{Read: 8, Accepted: 4, Rejected: 4}}, // as if it had been stored
	} {
		i.Tally = wrong
		if err := f.FinishImport(t.Context(), i, after(time.Hour)); err == nil || errors.Is(err, store.ErrLostImport) {
			t.Errorf("%+v: got %v, want an error of no kind", wrong, err)
		}
	}
	if got := f.imported(t, i.ID); got.State != store.ImportRunning {
		t.Errorf("state: got %s, want %s", got.State, store.ImportRunning)
	}
	i.Tally = store.Tally{Claims: store.Fates{Read: 8, Duplicate: 4, Rejected: 4}, Lines: store.Fates{Read: 9, Duplicate: 9}, NetFee: 5}
	for range 2 {
		if err := f.FinishImport(t.Context(), i, after(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	i.FinishedAt, i.LeasedUntil = after(time.Hour), time.Time{}
	same(t, "done", f.imported(t, i.ID), i)
	wantLost(t, "report", f.ReportImport(t.Context(), i.ID, 1, "", store.Tally{}, after(time.Hour)))
	failed := i
	failed.State = store.ImportFailed
	wantLost(t, "another end", f.FinishImport(t.Context(), failed, after(time.Hour)))
	running := i
	running.State = store.ImportRunning
	if err := f.FinishImport(t.Context(), running, noon()); err == nil {
		t.Error("finish as running: no error")
	}
	same(t, "still done", f.imported(t, i.ID), i)
}

// An import that fails counts as read what was decided, so that it adds up as well; why it
// failed is kept, cut between two characters.
func importFailed(t *testing.T, f *fixture) {
	for _, dry := range []bool{false, true} {
		i := f.create(t, store.Import{DryRun: dry})
		i.State, i.Tally, i.Error = store.ImportFailed, someTally(), strings.Repeat("ä", store.MaxImportError)+"\x00\xff"
		if err := f.FinishImport(t.Context(), i, after(time.Hour)); err != nil {
			t.Fatal(err)
		}
		got := f.imported(t, i.ID)
		if len(got.Error) > store.MaxImportError || len(got.Error) < store.MaxImportError-1 || !utf8.ValidString(got.Error) {
			t.Errorf("error: got %d bytes, %q", len(got.Error), got.Error)
		}
		i.Claims.Read, i.Lines.Read = 9, 17
		if dry {
			i.Claims.Read, i.Lines.Read = 12, 24
		} else {
			i.Tally = notAccepted(i.Tally)
		}
		same(t, fmt.Sprint("tally, dry run ", dry), got.Tally, i.Tally)
	}
}

// Imports are listed by the order of their creation, the newest first, page by page.
func importsListed(t *testing.T, f *fixture) {
	for i := range 5 {
		f.create(t, store.Import{Name: fmt.Sprint(i), CreatedAt: after(-time.Duration(i) * time.Hour)})
	}
	var names []string
	for before := int64(0); ; {
		page, err := f.Imports(t.Context(), before, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, i := range page {
			names, before = append(names, i.Name), i.Cursor
		}
	}
	same(t, "imports", names, []string{"4", "3", "2", "1", "0"})
	for _, limit := range []int{0, store.MaxImportPage + 1} {
		if _, err := f.Imports(t.Context(), 0, limit); err == nil {
			t.Errorf("page of %d: no error", limit)
		}
	}
}
