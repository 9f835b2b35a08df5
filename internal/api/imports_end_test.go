package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/store"
)

// upload sends a file, and gives the path of its import.
func (b *bench) upload(query, text string) string {
	b.t.Helper()
	return b.want(b.send(http.MethodPost, "/v1/imports"+query, text, "Content-Type: application/octet-stream"), 202).header.Get("Location")
}

// show asks for an import.
func (b *bench) show(path string) api.Import {
	b.t.Helper()
	return decode[api.Import](b.t, b.want(b.send(http.MethodGet, path, ""), 200).body)
}

// cancel cancels an import.
func (b *bench) cancel(path string) api.Import {
	b.t.Helper()
	return decode[api.Import](b.t, b.want(b.send(http.MethodPost, path+"/cancel", ""), 200).body)
}

// problem demands a status of a file about an import, and gives what it says.
func (b *bench) problem(path string, status int) api.Problem {
	b.t.Helper()
	return decode[api.Problem](b.t, b.want(b.send(http.MethodGet, path, ""), status).body)
}

// events watches an import to its end, and gives the names of the events.
func (b *bench) events(path string) []string {
	b.t.Helper()
	server := httptest.NewServer(b.api)
	defer server.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path+"/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatalf("the events of %s have no end: %v", path, err)
	}
	var names []string
	for row := range strings.SplitSeq(string(text), "\n") {
		if name, found := strings.CutPrefix(row, "event: "); found {
			names = append(names, name)
		}
	}
	return names
}

// firstThen is a committer that does something before it stores any batch but the first.
type firstThen struct {
	bulk.Committer
	first func([]store.Submission) bool
	then  func()
}

func (f firstThen) SubmitBatch(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	if !f.first(batch) {
		f.then()
	}
	return f.Committer.SubmitBatch(ctx, batch)
}

// A file of X12 whose import is cancelled in its middle gives back the rejects and faults that were found
// up to there, as many as it counts. Its sets are not acknowledged, since not all were read, and the
// answer says so.
func TestCancelledX12(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var text strings.Builder
	const claims = 2 * store.MaxBatchClaims
	text.WriteString(envelopeX12 + "ST*837*0001*005010X224A2~" + levelsX12)
	for n := range claims {
		date := "20180328"
		if n == 1 {
			date = "2018"
		}
		text.WriteString(claimX12("C-"+strconv.Itoa(n), date))
	}
	text.WriteString("SE*" + strconv.Itoa(10+4*claims) + "*0001~GE*1*7~IEA*1*000000001~")
	path := ""
	b.config.Imports.Committer = firstThen{b.config.Imports.Committer, func(batch []store.Submission) bool { return batch[0].Claim.ExternalID == "C-0" }, func() {
		for ticker := time.Tick(time.Millisecond); b.config.Imports.Stats.Rejected.Load() == 0; {
			<-ticker
		}
		b.cancel(path)
	}}
	path = b.upload("", text.String())
	b.working()
	if names := b.events(path); names[len(names)-1] != "end" {
		t.Errorf("got events %q, want an end", names)
	}
	got := b.show(path)
	same(t, "claims", got.Claims, api.Fates{Read: store.MaxBatchClaims, Accepted: store.MaxBatchClaims - 1, Rejected: 1})
	if got.State != store.ImportCancelled {
		t.Errorf("got %s, want it cancelled", got.State)
	}
	rejects := b.want(b.send(http.MethodGet, path+"/rejects", ""), 200)
	same(t, "rejects", rejects.body, envelopeX12+"ST*837*0001*005010X224A2~"+levelsX12+claimX12("C-1", "2018")+"SE*14*0001~GE*1*7~IEA*1*000000001~")
	if faults := b.want(b.send(http.MethodGet, path+"/faults", ""), 200); strings.Count(faults.body, "\n") != 1 {
		t.Errorf("got faults %q, want one", faults.body)
	}
	if got := b.problem(path+"/acknowledgement", 404); got.Code != "no-acknowledgement" || !strings.Contains(got.Detail, "was cancelled") {
		t.Errorf("acknowledgement: got %+v, want that there is none of what was cancelled", got)
	}
}

// What is said of the files about an import that was cancelled is true: one that nobody had begun has
// none, one whose runner still writes will have them, and one whose server is gone never will.
func TestFilesOfCancelledImports(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.upload("", table("A"))
	b.cancel(path)
	for _, kind := range []string{"/rejects", "/faults"} {
		if got := b.problem(path+kind, 404); !strings.Contains(got.Detail, "before anything of the file was read") {
			t.Errorf("not begun: got %q of %s", got.Detail, kind)
		}
	}
	path = b.upload("", table("B"))
	now := b.clock.now()
	taken, err := b.claims.TakeImport(t.Context(), now, now.Add(time.Minute)) // its server dies
	if err != nil {
		t.Fatal(err)
	}
	if err := b.claims.AppendPart(t.Context(), taken.ID, taken.Run, store.RejectsPart, 0, []byte("half of it")); err != nil {
		t.Fatal(err)
	}
	b.cancel(path)
	answer := b.want(b.send(http.MethodGet, path+"/rejects", ""), 409)
	if b.code(answer) != "not-ended" || answer.header.Get("Retry-After") != "1" {
		t.Errorf("under its lease: got %s, retry after %q s, want that it is not ended", answer.body, answer.header.Get("Retry-After"))
	}
	b.clock.add(time.Minute)
	if got := b.problem(path+"/rejects", 404); !strings.Contains(got.Detail, "its server was gone") {
		t.Errorf("once it is over: got %q", got.Detail)
	}
}

// An import of the command line that was killed, and that no server will take up, does not run for
// ever: some time after its lease it is interrupted, with no time left, and who watches it is told so.
// When the same file is imported again it goes on, and runs.
func TestInterruptedImport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := b.clock.now()
	sha256 := strings.Repeat("ab", 32)
	i := store.Import{
		ID: uuid.Must(uuid.NewV7()), SHA256: sha256, Bytes: 3000, State: store.ImportRunning, Run: 1, CreatedAt: now, LeasedUntil: now.Add(5 * time.Second),
	}
	if err := b.claims.CreateImport(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if err := b.claims.ReportImport(t.Context(), i.ID, 1, "csv", store.Tally{ReadBytes: 1000}, i.LeasedUntil); err != nil {
		t.Fatal(err)
	}
	path := "/v1/imports/" + i.ID.String()
	b.clock.add(35 * time.Second)
	if got := b.show(path); got.State != store.ImportRunning || got.SecondsLeft == 0 {
		t.Errorf("at first: got %+v, want that it runs", got)
	}
	b.clock.add(time.Second)
	got := b.show(path)
	if got.State != "interrupted" || got.SecondsLeft != 0 || got.BytesPerSecond != 200 {
		t.Errorf("then: got %+v, want it interrupted after 1000 bytes in 5 s, with no time left", got)
	}
	if listed := decode[api.ImportPage](t, b.send(http.MethodGet, "/v1/imports", "").body).Imports; len(listed) != 1 || listed[0] != got {
		t.Errorf("listed: got %+v, want %+v", listed, got)
	}
	same(t, "events", b.events(path), []string{"end"})
	if got := b.problem(path+"/rejects", 404); !strings.Contains(got.Detail, "claimrail import") {
		t.Errorf("its rejects: got %q, want who has them", got.Detail)
	}
	now = b.clock.now()
	found, err := b.claims.UnfinishedImport(t.Context(), sha256)
	if err == nil {
		_, err = b.claims.ResumeImport(t.Context(), found.ID, now, now.Add(5*time.Second))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := b.show(path); got.State != store.ImportRunning {
		t.Errorf("imported again: got %s, want that it runs", got.State)
	}
	waiting := b.upload("", table("A")) // any server takes it, whenever there is one
	if _, err := b.claims.TakeImport(t.Context(), now, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Hour)
	if got := b.show(waiting); got.State != store.ImportRunning {
		t.Errorf("one that is kept: got %s, want that it runs", got.State)
	}
}

// An import that is to stop at an error, and found a part of X12 at fault, says that it stopped; one
// that found none says that it did not.
func TestStopped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	set := func(number, count string) string {
		return "ST*837*" + number + "*005010X224A2~" + levelsX12 + claimX12("C-"+number, "20180328") + "SE*" + count + "*" + number + "~"
	}
	for _, tt := range []struct {
		count   string // of segments of the second set
		stopped bool
		claims  api.Fates
	}{
		{"4", true, api.Fates{Read: 2, Accepted: 1, Rejected: 1}},
		{"14", false, api.Fates{Read: 3, Accepted: 2, Duplicate: 1}},
	} {
		text := envelopeX12 + set("0001", "14") + set("0002", tt.count) + set("0003", "14") + "GE*3*7~IEA*1*000000001~"
		got := b.ended(b.upload("?on_error=stop", text))
		same(t, "claims", got.Claims, tt.claims)
		if got.Stopped != tt.stopped || got.State != store.ImportDone {
			t.Errorf("second set of %s segments: got %+v, want it stopped: %t", tt.count, got, tt.stopped)
		}
	}
	part := store.Import{StopOnError: true, State: store.ImportDone}
	part.PartFaults = 1
	if !api.NewImport(&part, b.clock.now()).Stopped {
		t.Error("one with a part at fault: got that it did not stop")
	}
}

// Imports are listed page by page, each once, the newest first, also while more come.
func TestImportPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want, got []string
	for n := range 5 {
		want = append([]string{strings.TrimPrefix(b.upload("", table(strconv.Itoa(n))), "/v1/imports/")}, want...)
	}
	for next := "/v1/imports?limit=2"; next != ""; {
		page := decode[api.ImportPage](t, b.want(b.send(http.MethodGet, next, ""), 200).body)
		for _, i := range page.Imports {
			got = append(got, i.ImportID)
		}
		b.upload("", table("later "+strconv.Itoa(len(got))))
		if next = ""; page.NextCursor != "" && len(got) < 2*len(want) {
			next = "/v1/imports?limit=2&cursor=" + page.NextCursor
		}
	}
	same(t, "imports", got, want)
}

// The files about an import are there for a day, and then 410 says that they were.
func TestForgottenFiles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path := b.upload("", table("A", "B!"))
	stop := b.worked(path)
	stop()
	b.want(b.send(http.MethodGet, path+"/rejects", ""), 200)
	b.clock.add(24*time.Hour + time.Microsecond)
	b.working() // which begins with what is to be forgotten
	for ticker := time.Tick(time.Millisecond); ; <-ticker {
		if b.send(http.MethodGet, path+"/faults", "").status != 200 {
			break
		}
	}
	for _, kind := range []string{"/rejects", "/faults"} {
		if got := b.problem(path+kind, 410); got.Code != "forgotten" {
			t.Errorf("%s: got %+v, want that it is forgotten", kind, got)
		}
	}
	if got := b.show(path); got.Claims != (api.Fates{Read: 2, Accepted: 1, Rejected: 1}) {
		t.Errorf("got %+v, want its counts as they were", got.Claims)
	}
}

// worked has the desk pass an import, and gives what stops it.
func (b *bench) worked(path string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = b.config.Imports.Run(ctx) })
	b.ended(path)
	return func() {
		cancel()
		running.Wait()
	}
}
