package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/store"
)

// MaxImportBytes bounds a file that is sent to be imported, as it is sent.
const MaxImportBytes = 4 << 30

// What an import does at the first claim that is rejected.
const (
	onErrorContinue = "continue"
	onErrorStop     = "stop"
)

// stateInterrupted is the state, here alone, of an import whose runner is gone with its file.
const stateInterrupted store.ImportState = "interrupted"

// Fates counts claims, or lines, by what became of them.
type Fates struct {
	Read      int64 `json:"read" example:"100000"`
	Accepted  int64 `json:"accepted" doc:"stored by this import" example:"99950"`
	Duplicate int64 `json:"duplicate" doc:"stored before, the same" example:"0"`
	Rejected  int64 `json:"rejected" example:"50"`
}

// Import is a file on its way in.
type Import struct {
	ImportID       string            `json:"import_id" format:"uuid" example:"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"`
	Name           string            `json:"name" doc:"the sender's name of the file" example:"january.csv"`
	SHA256         string            `json:"sha256,omitempty" doc:"of the file as sent; left out while it comes in"`
	Format         string            `json:"format,omitempty" doc:"csv, ndjson, json or x12; left out until it is known" example:"csv"`
	State          store.ImportState `json:"state" enum:"receiving,queued,running,interrupted,done,failed,cancelled" doc:"interrupted: claimrail import died with its file; the same command goes on" example:"running"`
	Error          string            `json:"error,omitempty" doc:"why it failed; what was accepted stays"`
	DryRun         bool              `json:"dry_run" doc:"nothing is stored"`
	OnError        string            `json:"on_error" enum:"continue,stop" example:"continue"`
	Stopped        bool              `json:"stopped" doc:"by on_error: what is behind was not read; send the file again once it is corrected"`
	Bytes          int64             `json:"bytes" doc:"of the file as sent; 0 while it comes in" example:"12000000"`
	ReadBytes      int64             `json:"read_bytes" example:"6000000"`
	Claims         Fates             `json:"claims"`
	Lines          Fates             `json:"lines"`
	PartFaults     int64             `json:"part_fault_count" doc:"of whole sets, groups and interchanges of X12, told among its faults: claims may be missing"`
	Warnings       int64             `json:"warnings" doc:"with the claims stored, now or before"`
	NetFee         string            `json:"net_fee" doc:"of the claims stored, now or before" example:"116.85"`
	BytesPerSecond int64             `json:"bytes_per_second,omitempty" doc:"over all of the time; left out until it is known"`
	SecondsLeft    int64             `json:"seconds_left,omitempty" doc:"of one that runs, as far as can be told"`
	CreatedAt      time.Time         `json:"created_at"`
	StartedAt      time.Time         `json:"started_at,omitzero"`
	FinishedAt     time.Time         `json:"finished_at,omitzero"`
}

// ImportPage is a page of imports.
type ImportPage struct {
	Imports    []Import `json:"imports"`
	NextCursor string   `json:"next_cursor,omitempty" doc:"left out on the last page"`
}

// NewImport gives an import as it stands on the wire.
func NewImport(i *store.Import, now time.Time) Import {
	pace := bulk.PaceOf(i, now)
	shown := Import{
		ImportID: i.ID.String(), Name: i.Name, SHA256: i.SHA256, Format: i.Format, State: i.State, Error: i.Error, DryRun: i.DryRun,
		OnError: onErrorContinue, Bytes: i.Bytes, ReadBytes: i.ReadBytes, Claims: Fates(i.Claims), Lines: Fates(i.Lines), PartFaults: i.PartFaults, Warnings: i.Warnings,
		NetFee: i.NetFee.String(), BytesPerSecond: int64(pace.BytesPerSecond), SecondsLeft: int64(math.Ceil(pace.Left.Seconds())),
		CreatedAt: i.CreatedAt, StartedAt: i.StartedAt, FinishedAt: i.FinishedAt,
	}
	if !i.State.Ended() {
		// While a file is read again, what was accepted before is ahead of what was read.
		shown.Claims.Read = max(shown.Claims.Read, shown.Claims.Accepted+shown.Claims.Duplicate+shown.Claims.Rejected)
		shown.Lines.Read = max(shown.Lines.Read, shown.Lines.Accepted+shown.Lines.Duplicate+shown.Lines.Rejected)
	}
	if i.StopOnError {
		shown.OnError = onErrorStop
		shown.Stopped = i.Claims.Rejected > 0 || i.PartFaults > 0
	}
	if bulk.IsInterrupted(i, now) {
		shown.State = stateInterrupted
	}
	return shown
}

// isClosing tells whether the runner of an import that was cancelled still writes down what it found.
func isClosing(i *store.Import, now time.Time) bool {
	return i.State == store.ImportCancelled && i.LeasedUntil.After(now)
}

// importTypes are what a file may be said to be. It is told by its content.
func importTypes() []string {
	return []string{"text/csv", "application/x-ndjson", "application/edi-x12", "application/gzip", "application/octet-stream", formType}
}

func (a *API) importRoutes() []route {
	one := param{in: inPath, name: "import_id", text: "Id of the import", format: "uuid", example: "0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"}
	return append([]route{
		{
			method: http.MethodPost, path: "/v1/imports", id: "create-import", tag: "imports",
			summary: "Send a file of claims",
			description: "The file is the body, or the one file of a form; CSV, NDJSON or X12 837D, as it is or packed by gzip, 4 GiB at most. " +
				"It is answered when all of it is kept; it is imported then, also across restarts. A claim is stored whole or not at all, and the " +
				"same file again stores nothing twice. The same file while an import of it waits or runs is that import.",
			params: []param{
				{in: inQuery, name: "name", text: "Your name of the file; of a form, its file has one", example: "january.csv"},
				{in: inQuery, name: "format", text: "What the file is; else its content tells", oneOf: bulk.Formats()},
				{in: inQuery, name: "dry_run", text: "Check and price, and store nothing", oneOf: []string{"true", "false"}},
				{in: inQuery, name: "on_error", text: "At a claim that is rejected", oneOf: []string{onErrorContinue, onErrorStop}},
			},
			request: &content{media: importTypes()},
			answers: map[int]content{http.StatusAccepted: {text: "Kept; Location says where to ask", body: Import{}}},
			faults:  []int{400, 403, 408, 409, 413, 415, 422},
			handle:  a.createImport,
		},
		{
			method: http.MethodGet, path: "/v1/imports", id: "list-imports", tag: "imports",
			summary: "List imports, the newest first",
			params: []param{
				{in: inQuery, name: "limit", text: "Imports in a page", kind: "integer", example: defaultPage, least: 1, most: store.MaxImportPage},
				{in: inQuery, name: "cursor", text: "next_cursor of the page before"},
			},
			answers: map[int]content{http.StatusOK: {text: "A page", body: ImportPage{}}},
			faults:  []int{422},
			handle:  a.listImports,
		},
		{
			method: http.MethodGet, path: "/v1/imports/{import_id}", id: "get-import", tag: "imports",
			summary: "Show how far an import has come",
			params:  []param{one},
			answers: map[int]content{http.StatusOK: {text: "The import", body: Import{}}},
			faults:  []int{404, 422},
			handle:  a.getImport,
		},
		{
			method: http.MethodPost, path: "/v1/imports/{import_id}/cancel", id: "cancel-import", tag: "imports",
			summary:     "Stop an import",
			description: "What it has accepted stays, and so does what it has found, up to there, in its rejects and faults. One that has ended stays as it is.",
			params:      []param{one},
			answers:     map[int]content{http.StatusOK: {text: "The import, ended", body: Import{}}},
			faults:      []int{403, 404, 422},
			handle:      a.cancelImport,
		},
	}, a.importFileRoutes(one)...)
}

// importFileRoutes are the streams of an import.
func (a *API) importFileRoutes(one param) []route {
	file := func(path, id, summary string, media []string, handle func(http.ResponseWriter, *http.Request) error) route {
		return route{
			method: http.MethodGet, path: "/v1/imports/{import_id}/" + path, id: id, tag: "imports", summary: summary,
			params: []param{one}, answers: map[int]content{http.StatusOK: {text: "The file, whole only if the answer ends as HTTP says", media: media}},
			faults: []int{404, 409, 410, 422, 505}, handle: handle,
		}
	}
	events := file("events", "watch-import", "Watch an import until it ends", []string{"text/event-stream"}, a.watchImport)
	events.description = "Server-sent events: progress, at most twice a second, with the import as data; end, with the import as it ended, or was interrupted."
	events.faults = []int{404, 422}
	events.answers[http.StatusOK] = content{text: "Events", media: []string{"text/event-stream"}}
	rejects := file("rejects", "get-rejects", "Get what was rejected", importTypes()[:3], func(w http.ResponseWriter, r *http.Request) error {
		return a.sendPart(w, r, store.RejectsPart)
	})
	rejects.description = "In the form of the file, with what is wrong beside it: correct it, and send it as it is. Kept for 24 hours, as the next two."
	return []route{
		events, rejects,
		file("faults", "get-faults", "Get what is wrong with the file, as JSON, one on each line", []string{"application/x-ndjson"},
			func(w http.ResponseWriter, r *http.Request) error { return a.sendPart(w, r, store.FaultsPart) }),
		file("acknowledgement", "get-acknowledgement", "Get the answer to X12", []string{"application/edi-x12"},
			func(w http.ResponseWriter, r *http.Request) error { return a.sendPart(w, r, store.AcknowledgementPart) }),
	}
}

// createImport is POST /v1/imports.
func (a *API) createImport(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r)
	var wanted bulk.Wanted
	wanted.Name, _ = q.text("name")
	wanted.Format, _ = bulk.FormatNamed(q.oneOf("format", bulk.Formats()))
	wanted.DryRun = q.oneOf("dry_run", []string{"true", "false"}) == "true"
	wanted.StopOnError = q.oneOf("on_error", []string{onErrorContinue, onErrorStop}) == onErrorStop
	if err := q.fault(); err != nil {
		return err
	}
	upload, err := openUpload(w, r)
	if err != nil {
		return err
	}
	defer upload.release() // where it panics; a second time does nothing
	if wanted.Name == "" {
		wanted.Name = upload.name
	}
	taken, err := a.Imports.Receive(r.Context(), upload, wanted)
	if err != nil || upload.err != nil {
		return upload.refuse(err)
	}
	upload.done()
	w.Header().Set("Location", "/v1/imports/"+taken.ID.String())
	return reply(w, http.StatusAccepted, NewImport(&taken, a.Now()))
}

// importOf reads the import that the path names.
func (a *API) importOf(ctx context.Context, r *http.Request) (store.Import, error) {
	text := r.PathValue("import_id")
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		f := newFault(http.StatusUnprocessableEntity, "invalid-id", "an import id is a UUID, as the answer to the file gave it")
		f.items = []item{{place: []any{inPath, "import_id"}, field: "import_id", code: "invalid-id", message: f.detail}}
		return store.Import{}, f
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	found, err := a.Imports.Imports.Import(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Import{}, newFault(http.StatusNotFound, "no-such-import", "no import has this id")
	}
	return found, err
}

// getImport is GET /v1/imports/{import_id}.
func (a *API) getImport(w http.ResponseWriter, r *http.Request) error {
	found, err := a.importOf(r.Context(), r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewImport(&found, a.Now()))
}

// listImports is GET /v1/imports.
func (a *API) listImports(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r)
	limit, before := int(q.integer("limit", defaultPage, 1, store.MaxImportPage)), q.integer("cursor", 0, 1, math.MaxInt64)
	if err := q.fault(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	found, err := a.Imports.Imports.Imports(ctx, before, limit)
	if err != nil {
		return err
	}
	page, now := ImportPage{Imports: make([]Import, len(found))}, a.Now()
	for i := range found {
		page.Imports[i] = NewImport(&found[i], now)
	}
	if len(found) == limit {
		page.NextCursor = strconv.FormatInt(found[len(found)-1].Cursor, 10)
	}
	return reply(w, http.StatusOK, page)
}

// cancelImport is POST /v1/imports/{import_id}/cancel.
func (a *API) cancelImport(w http.ResponseWriter, r *http.Request) error {
	found, err := a.importOf(r.Context(), r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	if found, err = a.Imports.Cancel(ctx, found.ID); err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewImport(&found, a.Now()))
}
