package bulk

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// desk makes a desk on the database, with a committer of its own.
func (b *bench) desk(to Committer) *Desk {
	return NewDesk(b.claims, to, b.validator, b.now, b.logger)
}

// work runs the desk until the test, or stop, ends it.
func (b *bench) work(d *Desk) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	b.Cleanup(stop)
	return stop
}

// receive sends a file.
func (b *bench) receive(d *Desk, text string, wanted Wanted) store.Import {
	b.Helper()
	i, err := d.Receive(b.Context(), strings.NewReader(text), wanted)
	if err != nil {
		b.Fatal(err)
	}
	return i
}

// await waits until an import has ended.
func (b *bench) await(id uuid.UUID) store.Import {
	b.Helper()
	return b.until(id, func(i *store.Import) bool { return i.State.Ended() })
}

// until reads an import until the condition is true.
func (b *bench) until(id uuid.UUID, condition func(*store.Import) bool) store.Import {
	b.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		i := b.read(id)
		if condition(&i) {
			return i
		}
		select {
		case <-ticker.C:
		case <-late.C:
			b.Fatalf("import is still %+v", i)
		}
	}
}

// A file that is received is imported, and what is wrong with it can be read; a dry run of it
// tells the same and stores nothing; sent again, all is there already.
func TestDesk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	b.work(d)
	text := head + goodRow("A") + badRow("B") + goodRow("C") + goodRow("B")
	for _, tt := range []struct {
		wanted Wanted
		fates  store.Fates
		stored int
	}{
		{Wanted{Name: `C:\files\jan.csv`, DryRun: true}, store.Fates{Read: 3, Accepted: 2, Rejected: 1}, 0},
		{Wanted{Name: "jan.csv", Format: intake.CSVTable}, store.Fates{Read: 3, Accepted: 2, Rejected: 1}, 2},
		{Wanted{Name: "/tmp/jan.csv"}, store.Fates{Read: 3, Duplicate: 2, Rejected: 1}, 2},
	} {
		got := b.await(b.receive(d, text, tt.wanted).ID)
		if got.State != store.ImportDone || got.Format != "csv" || got.Name != "jan.csv" || got.Bytes != int64(len(text)) || got.ReadBytes != got.Bytes {
			t.Errorf("got %+v, want jan.csv, done and read to its end", got)
		}
		same(t, "claims", got.Claims, tt.fates)
		same(t, "claims stored", b.stored(), tt.stored)
		same(t, "faults", b.text(got.ID, store.FaultsPart),
			`{"row":2,"line":3,"field":"provider_npi","column":"provider npi","code":"npi-digits","found":"99999","message":"an NPI must have exactly 10 digits"}`+"\n")
		if rejects := b.text(got.ID, store.RejectsPart); strings.Count(rejects, "\nB,") != 2 || strings.Contains(rejects, "\nA,") {
			t.Errorf("got rejects %q, want both rows of B and no others", rejects)
		}
	}
}

// Of a claim whose rows stand too far apart in a file nothing is stored, and all of its rows are in
// the file of rejects, in a dry run as well. Together they are one claim; put together, it is accepted.
func TestClaimThatStandsApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	b.work(d)
	var text strings.Builder
	text.WriteString(head + goodRow("C"))
	for i := range intake.WindowRows {
		text.WriteString(goodRow("F-" + strconv.Itoa(i/900)))
	}
	text.WriteString(goodRow("C") + goodRow("C"))
	want := store.Fates{Read: 13, Accepted: 12, Rejected: 1}
	rejects := ""
	for _, dry := range []bool{true, false} {
		got := b.await(b.receive(d, text.String(), Wanted{DryRun: dry}).ID)
		same(t, "claims", got.Claims, want)
		same(t, "lines", got.Lines, store.Fates{Read: intake.WindowRows + 3, Accepted: intake.WindowRows, Rejected: 3})
		rejects = b.text(got.ID, store.RejectsPart)
		if strings.Count(rejects, "\nC,") != 3 || strings.Count(rejects, ","+intake.CodeClaimClosed+",") != 3 {
			t.Errorf("got rejects %q, want the three rows of C, each with its error", rejects)
		}
	}
	same(t, "claims stored", b.stored(), 12)
	got := b.await(b.receive(d, rejects, Wanted{}).ID)
	same(t, "the rejects", got.Claims, store.Fates{Read: 1, Accepted: 1})
}

// What can be told by the first bytes is told before the rest has come.
func TestRefusedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	for name, head := range map[string]string{
		"zip":     "PK\x03\x04" + strings.Repeat("x", headBytes),
		"empty":   "",
		"binary":  strings.Repeat("\x00\x01", headBytes),
		"another": "ISA*00*" + strings.Repeat("x", headBytes),
	} {
		body := io.MultiReader(strings.NewReader(head), iotest.ErrReader(errors.New("read further")))
		if name == "empty" {
			body = strings.NewReader("")
		}
		_, err := d.Receive(t.Context(), body, Wanted{Format: intake.CSVTable})
		if _, ok := errors.AsType[*intake.FormatError](err); !ok {
			t.Errorf("%s: got %v, want a format error", name, err)
		}
	}
	page, err := b.claims.Imports(t.Context(), 0, 10)
	if err != nil || len(page) > 0 {
		t.Errorf("got imports %+v, %v, want none", page, err)
	}
}

// A file that breaks off on its way leaves nothing that would be imported, and no bytes.
func TestLostUpload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	lost := errors.New("connection lost")
	if _, err := d.Receive(t.Context(), io.MultiReader(strings.NewReader(goodFile(numbered(1000)...)), iotest.ErrReader(lost)), Wanted{}); !errors.Is(err, lost) {
		t.Fatalf("got %v, want %v", err, lost)
	}
	page, err := b.claims.Imports(t.Context(), 0, 10)
	if err != nil || len(page) != 1 || page[0].State != store.ImportCancelled {
		t.Fatalf("got %+v, %v, want one that is cancelled", page, err)
	}
	if text := b.text(page[0].ID, store.InputPart); text != "" {
		t.Errorf("got %d bytes that are kept, want none", len(text))
	}
}

// hook is a body that does something before it goes on.
type hook func()

func (h hook) Read([]byte) (int, error) {
	h()
	return 0, io.EOF
}

// A file whose import is cancelled while it comes in is refused as that, without an alarm.
func TestCancelWhileItComesIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var log bytes.Buffer
	b.logger = slog.New(slog.NewTextHandler(&log, nil))
	d := b.desk(b)
	body := io.MultiReader(strings.NewReader(goodFile(numbered(1000)...)), hook(func() {
		page, err := b.claims.Imports(t.Context(), 0, 10)
		if err != nil || len(page) != 1 {
			t.Fatalf("got %+v, %v, want one", page, err)
		}
		if _, err := d.Cancel(t.Context(), page[0].ID); err != nil {
			t.Fatal(err)
		}
	}))
	if _, err := d.Receive(t.Context(), body, Wanted{}); !errors.Is(err, store.ErrLostImport) {
		t.Errorf("got %v, want %v", err, store.ErrLostImport)
	}
	if strings.Contains(log.String(), "could not be ended") {
		t.Errorf("got the log %s, want no alarm", &log)
	}
}

// Whatever a sender calls a file, its name can be kept: UTF-8, without a path, and not too long.
func TestCleanName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.csv": "a.csv", "/x/y/a.csv": "a.csv", `C:\\x\a.csv`: "a.csv", "f\xe9vrier.csv": "f\uFFFDvrier.csv", "a\x00\n.csv": "a.csv", "..": "..", "/": "", "": "",
		strings.Repeat("\xff\xfea", 200): strings.Repeat("\uFFFDa", 63) + "\uFFFD",
	} {
		if got := CleanName(name); got != want || len(got) > store.MaxImportName || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// The same file twice is one import while it waits, unless something else is wanted; beyond what
// may wait no more is taken.
func TestTwins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	first := b.receive(d, goodFile("A"), Wanted{})
	if again := b.receive(d, goodFile("A"), Wanted{Name: "other.csv"}); again.ID != first.ID {
		t.Error("the same file again is another import")
	}
	if dry := b.receive(d, goodFile("A"), Wanted{DryRun: true}); dry.ID == first.ID {
		t.Error("a dry run of a file is the import of it")
	}
	if csv := b.receive(d, goodFile("A"), Wanted{Format: intake.CSVTable}); csv.ID != first.ID {
		t.Error("a file whose format is found, and is asked for later, is another import")
	}
	one, other := store.Import{Format: "csv"}, store.Import{Format: "ndjson"}
	if isSame(&one, &other) || !isSame(&one, &one) {
		t.Error("a file that is asked for in two formats is one import")
	}
	for _, number := range numbered(maxWaiting - 2) {
		b.receive(d, goodFile(number), Wanted{})
	}
	if _, err := d.Receive(t.Context(), strings.NewReader(goodFile("Z")), Wanted{}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want %v", err, ErrBusy)
	}
}

// gate lets batches through one by one.
type gate struct {
	*bench
	at, pass chan struct{}
}

func (g gate) SubmitBatch(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	g.at <- struct{}{}
	<-g.pass
	return g.bench.SubmitBatch(ctx, batch)
}

// An import that is cancelled while it runs keeps what it has stored, stores no more, and its counts
// and net fee are of that.
func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := gate{b, make(chan struct{}), make(chan struct{})}
	d := b.desk(g)
	b.work(d)
	i := b.receive(d, goodFile(numbered(4*store.MaxBatchClaims)...), Wanted{StopOnError: true}) // so that there is one batch at a time
	<-g.at
	g.pass <- struct{}{}
	<-g.at // the first batch is stored
	if _, err := d.Cancel(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	g.pass <- struct{}{} // the second is refused
	same(t, "claims", b.read(i.ID).Claims, store.Fates{Read: store.MaxBatchClaims, Accepted: store.MaxBatchClaims})
	same(t, "net fee", b.read(i.ID).NetFee, money.Cents(store.MaxBatchClaims*8125))
	for d.Stats.Left.Load() == 0 {
		select {
		case <-g.at:
			g.pass <- struct{}{}
		case <-time.After(time.Millisecond):
		}
	}
	same(t, "claims stored", b.stored(), store.MaxBatchClaims)
}

// An import whose runner is gone is taken over when its lease is over, and not before; what the
// first run stored is counted once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := b.receive(b.desk(b), head+goodRow("A")+badRow("B")+goodRow("C"), Wanted{})
	dead, err := b.claims.TakeImport(t.Context(), b.now(), b.now().Add(lease))
	if err != nil || dead.ID != i.ID {
		t.Fatalf("got %+v, %v, want the import", dead, err)
	}
	if p, _ := b.newPass(goodFile("A")); true {
		p.Import = i.ID
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.advance(lease - time.Millisecond)
	if taken, err := b.claims.TakeImport(t.Context(), b.now(), b.now().Add(lease)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("got %+v, %v under the lease of another, want none", taken, err)
	}
	b.advance(time.Millisecond)
	b.work(b.desk(b))
	got := b.await(i.ID)
	same(t, "claims", got.Claims, store.Fates{Read: 3, Accepted: 2, Rejected: 1})
	same(t, "net fee", got.NetFee, money.Cents(2*8125))
	if err := b.claims.ReportImport(t.Context(), i.ID, dead.Run, "", store.Tally{}, b.now()); !errors.Is(err, store.ErrLostImport) {
		t.Errorf("report of the run before: got %v, want %v", err, store.ErrLostImport)
	}
}

// A desk that is stopped lets its import go at once, and the next goes on with it.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := gate{b, make(chan struct{}), make(chan struct{})}
	d := b.desk(g)
	stop := b.work(d)
	i := b.receive(d, goodFile(numbered(3*store.MaxBatchClaims)...), Wanted{StopOnError: true})
	<-g.at
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	g.pass <- struct{}{}
	for open := true; open; { // a batch that had begun is still stored
		select {
		case <-g.at:
			g.pass <- struct{}{}
		case <-stopped:
			open = false
		}
	}
	if got := b.read(i.ID); got.State != store.ImportRunning || got.LeasedUntil.After(b.now()) {
		t.Errorf("got %s, leased until %s, want it running and free", got.State, got.LeasedUntil)
	}
	b.work(b.desk(b)) // no time has passed
	got := b.await(i.ID)
	const all = 3 * store.MaxBatchClaims
	same(t, "claims", got.Claims, store.Fates{Read: all, Accepted: all})
	same(t, "runs", got.Run, 2)
}

// A desk that is alone takes what a run before left in the middle at once, and none of it twice.
func TestAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []uuid.UUID
	for _, number := range numbered(3) {
		ids = append(ids, b.receive(b.desk(b), goodFile(number), Wanted{}).ID)
	}
	for range ids[1:] {
		if _, err := b.claims.TakeImport(t.Context(), b.now(), b.now().Add(lease)); err != nil {
			t.Fatal(err)
		}
	}
	d := b.desk(b)
	d.Alone = true
	b.work(d) // no time has passed
	for _, id := range ids {
		same(t, "claims", b.await(id).Claims, store.Fates{Read: 1, Accepted: 1})
	}
	same(t, "runs begun", d.Stats.Taken.Load(), int64(len(ids)))
}

// lost leaves an import that was received when its desk died.
func (b *bench) lost() uuid.UUID {
	b.Helper()
	i := store.Import{
		ID: uuid.Must(uuid.NewV7()), Kept: true, State: store.ImportReceiving, CreatedAt: b.now(), LeasedUntil: b.now().Add(receiveLease),
	}
	if err := b.claims.CreateImport(b.Context(), i); err != nil {
		b.Fatal(err)
	}
	if err := b.claims.AppendPart(b.Context(), i.ID, 0, store.InputPart, 0, []byte("x")); err != nil {
		b.Fatal(err)
	}
	return i.ID
}

// Files that came in when a desk died end at once where the next desk is alone, and what they had is
// gone; what comes in meanwhile goes on.
func TestAloneGivesUpLostUploads(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lost := b.lost()
	b.advance(time.Microsecond)
	d := b.desk(b)
	d.Alone = true
	coming := b.lost() // as one of the new desk's own
	b.work(d)
	if got := b.await(lost); got.State != store.ImportCancelled {
		t.Errorf("got %s, want it cancelled", got.State)
	}
	if _, err := b.claims.Part(t.Context(), lost, store.InputPart, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its part: got %v, want %v", err, store.ErrNotFound)
	}
	b.await(b.receive(d, goodFile("A"), Wanted{}).ID)
	if got := b.read(coming); got.State != store.ImportReceiving {
		t.Errorf("one that comes in: got %s, want it receiving", got.State)
	}
}

// Files that came in when their desks died keep others from coming in for as long as their leases,
// and no longer.
func TestLostUploadsTakeNoPlaces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	for range maxWaiting {
		b.lost()
	}
	b.advance(receiveLease - time.Microsecond)
	if _, err := d.Receive(t.Context(), strings.NewReader(goodFile("A")), Wanted{}); !errors.Is(err, ErrBusy) {
		t.Errorf("under their leases: got %v, want %v", err, ErrBusy)
	}
	b.advance(time.Microsecond)
	b.receive(d, goodFile("A"), Wanted{})
}

// A file that comes in for long keeps its import, for as long as something moves.
func TestSlowUploadIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	file := strings.NewReader(goodFile(numbered(1000)...))
	slow := readerFunc(func(into []byte) (int, error) {
		b.advance(receiveLease - time.Second) // since the last bytes
		if _, err := b.claims.Forget(t.Context(), b.now().Add(-keptFor), b.now()); err != nil {
			t.Error(err)
		}
		return file.Read(into[:min(len(into), headBytes)])
	})
	i, err := d.Receive(t.Context(), slow, Wanted{})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.read(i.ID); got.State != store.ImportQueued || !got.LeasedUntil.IsZero() {
		t.Errorf("got %s, leased until %s, want it queued and free", got.State, got.LeasedUntil)
	}
}

// readerFunc is a function as a reader.
type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(into []byte) (int, error) { return r(into) }

// Several desks on one database import several files at once, each once.
func TestSeveralDesks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		b.work(b.desk(b))
	}
	d := b.desk(b)
	var ids []uuid.UUID
	for _, prefix := range []string{"A", "B", "C", "D", "E", "F"} {
		var numbers []string
		for _, number := range numbered(700) {
			numbers = append(numbers, prefix+number)
		}
		ids = append(ids, b.receive(d, goodFile(numbers...), Wanted{}).ID)
	}
	for _, id := range ids {
		got := b.await(id)
		same(t, "claims", got.Claims, store.Fates{Read: 700, Accepted: 700})
		same(t, "runs", got.Run, 1)
	}
	same(t, "claims stored", b.stored(), 6*700)
}

// A file that can not be read, or not to its end, fails with the reason; what was stored stays.
// One that was begun too often fails as well.
func TestFailedImports(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.desk(b)
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	_, _ = packer.Write([]byte(goodFile(numbered(12_000)...)))
	_ = packer.Close()
	headless, cut := b.receive(d, "a,b,c\n1,2,3\n", Wanted{}), b.receive(d, packed.String()[:packed.Len()-1000], Wanted{})
	often := b.receive(d, goodFile("Z"), Wanted{})
	b.work(d)
	got := b.await(headless.ID)
	if got.State != store.ImportFailed || got.Error != "the header can not be used" || !strings.Contains(b.text(got.ID, store.FaultsPart), `"code"`) {
		t.Errorf("header: got %s, %q, faults %q", got.State, got.Error, b.text(got.ID, store.FaultsPart))
	}
	got = b.await(cut.ID)
	if got.State != store.ImportFailed || !strings.Contains(got.Error, "ends too early") || got.Claims.Accepted == 0 || got.Claims.Read != got.Claims.Accepted {
		t.Errorf("cut off: got %s, %q, claims %+v", got.State, got.Error, got.Claims)
	}
	if got = b.await(often.ID); got.State != store.ImportDone {
		t.Errorf("behind those that failed: got %s, want it done", got.State)
	}
	looping := b.begin()
	looping.Run = maxRuns + 1
	h := &Hold{Imports: b.claims, Import: &looping, Lease: lease, Now: b.now, Logger: b.logger}
	if err := (&job{Desk: d, hold: h, i: &looping}).run(t.Context()); !errors.Is(err, errTooManyRuns) {
		t.Errorf("run %d: got %v, want %v", looping.Run, err, errTooManyRuns)
	}
}

// Rules that have changed between two runs are told, where counts could not add up.
func TestChangedRules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	i := b.begin()
	p, _ := b.newPass(goodFile("A", "B"))
	p.Import = i.ID
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, _ := b.newPass(head + goodRow("A") + badRow("B"))
	again.Import, again.Before = i.ID, Accepted{2, 2, 2 * 8125}
	h := &Hold{Imports: b.claims, Import: &i, Lease: lease, Now: b.now, Logger: b.logger}
	if err := h.Run(t.Context(), func(ctx context.Context) error { return h.Pass(ctx, again) }); !errors.Is(err, errChanged) {
		t.Errorf("got %v, want %v", err, errChanged)
	}
	if got := b.read(i.ID); got.State != store.ImportFailed || got.Claims.Accepted != 2 {
		t.Errorf("got %s, claims %+v, want it failed with 2 accepted", got.State, got.Claims)
	}
}
