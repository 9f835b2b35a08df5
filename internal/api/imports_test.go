package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/store"
)

// table gives a file of CSV: a claim of one line for each number; a number that ends with "!" has
// an NPI of too few digits.
func table(numbers ...string) string {
	var text strings.Builder
	text.WriteString("claim number,service date,submitted procedure,quadrant,plan group,subscriber,provider npi,provider fees,allowed fees,member coinsurance,member copay\n")
	for _, number := range numbers {
		npi := "1497775530"
		if strings.HasSuffix(number, "!") {
			npi = "14977"
		}
		text.WriteString(number + ",3/28/18 0:00,D4346,UR,GRP-1000,3730189502," + npi + ",$130.00,$65.00,$16.25,$0.00\n")
	}
	return text.String()
}

// working has the desk pass what comes in.
func (b *bench) working() {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = b.config.Imports.Run(ctx) })
	b.t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// ended asks until an import has ended.
func (b *bench) ended(path string) api.Import {
	b.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		got := decode[api.Import](b.t, b.want(b.send(http.MethodGet, path, ""), 200).body)
		if got.State.Ended() {
			return got
		}
		select {
		case <-ticker.C:
		case <-b.t.Context().Done():
			b.t.Fatalf("import is still %+v", got)
		}
	}
}

// code gives the word of a problem.
func (b *bench) code(a answer) string {
	b.t.Helper()
	return decode[api.Problem](b.t, a.body).Code
}

// A file is taken, imported, and can be asked about in every way; its rejects come back in its own
// form, and nothing of what is protected is in what is told of it.
func TestImport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	text := table("A", "B!", "C")
	created := b.want(b.send(http.MethodPost, "/v1/imports?name=jan.csv&format=csv", text, "Content-Type: text/csv"), 202)
	path := created.header.Get("Location")
	first := decode[api.Import](t, created.body)
	if path != "/v1/imports/"+first.ImportID || first.State != store.ImportQueued || first.Bytes != int64(len(text)) {
		t.Errorf("got %+v at %s, want it queued", first, path)
	}
	got := b.ended(path)
	same(t, "claims", got.Claims, api.Fates{Read: 3, Accepted: 2, Rejected: 1})
	if got.Name != "jan.csv" || got.Format != "csv" || got.NetFee != "162.50" || got.State != store.ImportDone || got.ReadBytes != got.Bytes {
		t.Errorf("got %+v, want jan.csv, done, with net fee 162.50", got)
	}
	rejects := b.want(b.send(http.MethodGet, path+"/rejects", ""), 200)
	if !strings.Contains(rejects.body, "\nB!,") || strings.Contains(rejects.body, "\nA,") ||
		rejects.header.Get("Content-Disposition") != `attachment; filename="rejects-`+got.ImportID+`.csv"` {
		t.Errorf("got rejects %q, %v, want B alone, as a file", rejects.body, rejects.header)
	}
	faults := b.want(b.send(http.MethodGet, path+"/faults", ""), 200)
	if strings.Count(faults.body, "\n") != 1 || !strings.Contains(faults.body, `"line":3,"field":"provider_npi"`) {
		t.Errorf("got faults %q, want that of line 3", faults.body)
	}
	if answer := b.want(b.send(http.MethodGet, path+"/acknowledgement", ""), 404); b.code(answer) != "no-acknowledgement" {
		t.Errorf("acknowledgement: got %s", answer.body)
	}
	page := decode[api.ImportPage](t, b.want(b.send(http.MethodGet, "/v1/imports?limit=1", ""), 200).body)
	if len(page.Imports) != 1 || page.Imports[0] != got || page.NextCursor == "" {
		t.Errorf("got page %+v, want the import, and where the next would begin", page)
	}
	if again := b.want(b.send(http.MethodPost, path+"/cancel", ""), 200); decode[api.Import](t, again.body) != got {
		t.Errorf("cancel of one that has ended: got %s", again.body)
	}
	for _, text := range []string{faults.body, b.log.String()} {
		if strings.Contains(text, "3730189502") || strings.Contains(text, "3/28/18") {
			t.Errorf("got %q, with what is protected", text)
		}
	}
}

// A form with one file is taken as the file is, under its name; anything else in it is refused.
func TestImportForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	form := func(names ...string) (string, string) {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for _, name := range names {
			part, err := w.CreateFormFile("file", name)
			if name == "" {
				part, err = w.CreateFormField("name")
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(part, table("A", "B"))
		}
		_ = w.Close()
		return body.String(), "Content-Type: " + w.FormDataContentType()
	}
	body, kind := form("feb.csv")
	got := b.ended(b.want(b.send(http.MethodPost, "/v1/imports", body, kind), 202).header.Get("Location"))
	if got.Name != "feb.csv" || got.Claims.Accepted != 2 {
		t.Errorf("got %+v, want feb.csv with 2 claims accepted", got)
	}
	for _, names := range [][]string{{"a.csv", "b.csv"}, {""}, {}} {
		body, kind := form(names...)
		if answer := b.want(b.send(http.MethodPost, "/v1/imports", body, kind), 400); b.code(answer) != "form" {
			t.Errorf("parts %q: got %s", names, answer.body)
		}
	}
	if answer := b.want(b.send(http.MethodPost, "/v1/imports", body[:len(body)/2], kind), 400); b.code(answer) != "broken-body" {
		t.Errorf("half a form: got %s", answer.body)
	}
}

// What can not be taken is refused with what to change, and leaves no import that waits.
func TestImportRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tt := range []struct {
		query, body, header string
		status              int
		code                string
	}{
		{"", "PK\x03\x04zip", "", 415, "format"},
		{"", " ", "", 415, "format"},
		{"?format=x12", table("A"), "", 415, "format"},
		{"?format=xls", table("A"), "", 422, "invalid-query"},
		{"?dry_run=yes", table("A"), "", 422, "invalid-query"},
		{"?on_error=ignore", table("A"), "", 422, "invalid-query"},
		{"?dryrun=true", table("A"), "", 422, "invalid-query"},
		{"", table("A"), "Content-Encoding: gzip", 415, "content-encoding"},
		{"", table("A"), "Sec-Fetch-Site: cross-site", 403, "cross-origin"},
	} {
		header := []string{"Content-Type: text/csv"}
		if tt.header != "" {
			header = append(header, tt.header)
		}
		answer := b.want(b.send(http.MethodPost, "/v1/imports"+tt.query, tt.body, header...), tt.status)
		if b.code(answer) != tt.code {
			t.Errorf("%s %q %s: got %s, want %s", tt.query, tt.body, tt.header, answer.body, tt.code)
		}
	}
	for path, status := range map[string]int{
		"/v1/imports/x": 422, "/v1/imports/0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35": 404, "/v1/imports/0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35/rejects": 404,
		"/v1/imports/0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35/events": 404, "/v1/imports?limit=0": 422,
	} {
		b.want(b.send(http.MethodGet, path, ""), status)
	}
	page := decode[api.ImportPage](t, b.want(b.send(http.MethodGet, "/v1/imports", ""), 200).body)
	if len(page.Imports) > 0 {
		t.Errorf("got imports %+v, want none", page.Imports)
	}
	b.want(b.send(http.MethodPost, "/v1/imports", table("A"), "Content-Type: text/csv"), 202)
	waiting := decode[api.ImportPage](t, b.send(http.MethodGet, "/v1/imports", "").body).Imports[0]
	if answer := b.want(b.send(http.MethodGet, "/v1/imports/"+waiting.ImportID+"/rejects", ""), 409); b.code(answer) != "not-ended" {
		t.Errorf("rejects of one that waits: got %s", answer.body)
	}
	cancelled := decode[api.Import](t, b.want(b.send(http.MethodPost, "/v1/imports/"+waiting.ImportID+"/cancel", ""), 200).body)
	if cancelled.State != store.ImportCancelled {
		t.Errorf("got %+v, want it cancelled", cancelled)
	}
}

// A file that is longer than what is taken is refused by its length, before it is read.
func TestImportTooLarge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/imports", iotest.ErrReader(errors.New("it was read")))
	r.ContentLength = api.MaxImportBytes + 1
	recorder := httptest.NewRecorder()
	b.api.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d, %s, want 413", recorder.Code, recorder.Body)
	}
}

// Who watches an import sees it come on, and then its end, which ends the answer.
func TestImportEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := httptest.NewServer(b.api)
	t.Cleanup(server.Close)
	path := b.want(b.send(http.MethodPost, "/v1/imports", table("A", "B!"), "Content-Type: text/csv"), 202).header.Get("Location")
	answer, err := http.Get(server.URL + path + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("got %s, want events", kind)
	}
	var names []string
	var last api.Import
	rows := bufio.NewScanner(answer.Body)
	for rows.Scan() {
		name, value, _ := strings.Cut(rows.Text(), ": ")
		switch name {
		case "event":
			if names = append(names, value); len(names) == 1 {
				b.working() // only now, so that something is to be seen
			}
		case "data":
			last = decode[api.Import](t, value)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(names) < 2 || names[0] != "progress" || names[len(names)-1] != "end" {
		t.Errorf("got events %q, want progress, then end", names)
	}
	same(t, "claims at the end", last.Claims, api.Fates{Read: 2, Accepted: 1, Rejected: 1})
}

// Watchers are bounded: one more is told to ask now and then, and may come when another has gone.
func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := httptest.NewServer(b.api)
	t.Cleanup(server.Close)
	path := b.want(b.send(http.MethodPost, "/v1/imports", table("A"), "Content-Type: text/csv"), 202).header.Get("Location")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	watch := func(ctx context.Context) int {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer.StatusCode
	}
	for n := range 64 {
		if status := watch(ctx); status != http.StatusOK {
			t.Fatalf("watcher %d: got %d, want 200", n, status)
		}
	}
	if status := watch(ctx); status != http.StatusServiceUnavailable {
		t.Errorf("one more: got %d, want 503", status)
	}
	leave()
	for watch(t.Context()) != http.StatusOK { // until those that went are gone
		t.Log("not yet")
	}
}

// An upload that a client breaks off leaves an import that is cancelled, and the next upload of the
// same file is taken.
func TestImportBrokenOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	text := table("A", "B")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/imports",
		io.MultiReader(strings.NewReader(text+strings.Repeat("x", 8<<10)), iotest.ErrReader(errors.New("connection lost"))))
	r.ContentLength = -1
	recorder := httptest.NewRecorder()
	b.api.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusBadRequest || !strings.Contains(recorder.Body.String(), "broken-body") {
		t.Errorf("got %d, %s, want 400, broken-body", recorder.Code, recorder.Body)
	}
	page := decode[api.ImportPage](t, b.send(http.MethodGet, "/v1/imports", "").body)
	if len(page.Imports) != 1 || page.Imports[0].State != store.ImportCancelled {
		t.Errorf("got %+v, want one that is cancelled", page.Imports)
	}
	got := b.ended(b.want(b.send(http.MethodPost, "/v1/imports", text, "Content-Type: text/csv"), 202).header.Get("Location"))
	same(t, "claims", got.Claims, api.Fates{Read: 2, Accepted: 2})
}

// cancelling is a body behind whose first bytes the import is cancelled.
type cancelling struct{ *bench }

func (c cancelling) Read([]byte) (int, error) {
	page := decode[api.ImportPage](c.t, c.send(http.MethodGet, "/v1/imports", "").body)
	c.want(c.send(http.MethodPost, "/v1/imports/"+page.Imports[0].ImportID+"/cancel", ""), 200)
	return 0, io.EOF
}

// Who sends a file whose import is cancelled meanwhile is told so.
func TestImportCancelledOnItsWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/imports", io.MultiReader(strings.NewReader(table("A", "B")+strings.Repeat("x", 8<<10)), cancelling{b}))
	r.ContentLength = -1
	recorder := httptest.NewRecorder()
	b.api.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusConflict || !strings.Contains(recorder.Body.String(), "import-ended") {
		t.Errorf("got %d, %s, want 409, import-ended", recorder.Code, recorder.Body)
	}
}

// serveAPI serves on a port, until stop.
func serveAPI(t *testing.T, handler http.Handler) (url string, stop func() error) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, listener, handler, 0, slog.New(slog.DiscardHandler)) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() { _ = stop() })
	return "http://" + listener.Addr().String(), stop
}

// A stopping server ends uploads and watchers at once, with a word to come again, and is not
// kept waiting by them.
func TestStopEndsTransfers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, stop := serveAPI(t, b.api)
	path := b.want(b.send(http.MethodPost, "/v1/imports", table("A"), "Content-Type: text/csv"), 202).header.Get("Location")
	watching, err := http.Get(url + path + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watching.Body.Close() }()
	body, feed := io.Pipe()
	type result struct {
		status int
		text   string
		err    error
	}
	uploaded := make(chan result, 1)
	go func() {
		answer, err := http.Post(url+"/v1/imports", "text/csv", body)
		if err != nil {
			uploaded <- result{err: err}
			return
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		uploaded <- result{status: answer.StatusCode, text: string(text)}
	}()
	_, _ = io.WriteString(feed, table("B")+strings.Repeat("x", 64<<10)) // it is being read
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	_, _ = io.Copy(io.Discard, watching.Body)
	_ = feed.CloseWithError(errors.New("too late"))
	if got := <-uploaded; got.err == nil && (got.status != http.StatusServiceUnavailable || !strings.Contains(got.text, "stopping")) {
		t.Errorf("upload: got %+v, want 503, stopping, or a connection that is closed", got)
	}
}

// An import stands on the wire as it is documented: what is not known yet is left out.
func TestImportOnTheWire(t *testing.T) {
	t.Parallel()
	i := store.Import{
		Name: "x.csv", State: store.ImportRunning, Kept: true, StopOnError: true, Bytes: 3000, CreatedAt: time.Unix(0, 0).UTC(), StartedAt: time.Unix(10, 0).UTC(),
	}
	i.ReadBytes = 1000
	text, err := json.Marshal(api.NewImport(&i, time.Unix(20, 0)))
	if err != nil {
		t.Fatal(err)
	}
	fates := `{"read":0,"accepted":0,"duplicate":0,"rejected":0}`
	same(t, "import", string(text), fmt.Sprintf(`{"import_id":"00000000-0000-0000-0000-000000000000","name":"x.csv","state":"running","dry_run":false,"on_error":"stop","stopped":false,`+
		`"bytes":3000,"read_bytes":1000,"claims":%s,"lines":%s,"part_fault_count":0,"warnings":0,"net_fee":"0.00","bytes_per_second":100,"seconds_left":20,`+
		`"created_at":"1970-01-01T00:00:00Z","started_at":"1970-01-01T00:00:10Z"}`, fates, fates))
}
