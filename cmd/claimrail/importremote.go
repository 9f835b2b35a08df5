package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of an import over a server.
const (
	askEvery      = 500 * time.Millisecond // how far it has come
	maxFaultBytes = 64 << 10
)

// remoteImporter has a server import files.
type remoteImporter struct {
	*remote
	program  *program
	transfer *http.Client // has no timeout: a file may take any time, as long as it moves; see stall
}

func (p *program) openRemoteImporter() (*remoteImporter, error) {
	r, err := newRemote(p.server)
	if err != nil {
		return nil, err
	}
	transfer := *r.client
	transfer.Timeout = 0
	return &remoteImporter{r, p, &transfer}, nil
}

// take implements importer.
func (r *remoteImporter) take(ctx context.Context, from source, o *importOptions, report *fileReport) error {
	err := r.takeIn(ctx, from, o, report)
	if refused, ok := errors.AsType[*refusedError](err); ok && ofFile(refused.Status) {
		return &fileError{report.File, refused}
	}
	return explainImport(ctx, report.File, err)
}

// ofFile tells whether a status says that it is the file that is refused.
func ofFile(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	default:
		return false
	}
}

func (r *remoteImporter) takeIn(ctx context.Context, from source, o *importOptions, report *fileReport) error {
	if err := check(from, o, report); err != nil {
		return err
	}
	rejects, err := createOut(o.rejects, o.force)
	if err != nil {
		return err
	}
	defer rejects.drop()
	acknowledgement, err := createOut(o.ack, o.force)
	if err != nil {
		return err
	}
	defer acknowledgement.drop()
	i, err := r.upload(ctx, from, o, report.File)
	if err != nil {
		return err
	}
	report.ImportID = i.ImportID
	if i, err = r.await(ctx, i, report.File); err != nil {
		return hint(err, "the server goes on with import %s; the same command follows it again", i.ImportID)
	}
	if err := report.countRemote(&i); err != nil {
		return err
	}
	if i.State == store.ImportCancelled { // perhaps before there were any faults
		return hint(fmt.Errorf("import %s was cancelled", i.ImportID), "what is stored already stays; the same command imports the file anew")
	}
	if err = r.readFaults(ctx, i.ImportID, report); err == nil {
		err = r.fetch(ctx, rejects, report, i.ImportID, store.RejectsPart)
	}
	if err == nil {
		err = r.fetch(ctx, acknowledgement, report, i.ImportID, store.AcknowledgementPart)
	}
	if i.State == store.ImportFailed {
		failed := &bulk.FileError{Err: errors.New(i.Error)}
		if err != nil { // without a readable file there may be no faults and nothing to fetch either
			return hint(failed, "correct the file and import it again: what is stored already is not stored twice")
		}
		return failed
	}
	return err
}

// check refuses at once what a server would refuse, and tells the faults of a header. The server
// judges the claims.
func check(from source, o *importOptions, report *fileReport) error {
	file, err := intake.Open(from.file, intake.Options{Format: o.asked})
	if header, ok := errors.AsType[*intake.HeaderError](err); ok {
		report.addFaults(header.Faults)
	}
	if err == nil && o.ack != "" && file.Format() != intake.X12 {
		err = &bulk.FileError{Err: errors.New("only X12 is acknowledged, and it is not X12: leave --ack out")}
	}
	if err == nil {
		_, err = from.file.Seek(0, io.SeekStart)
	}
	return bulk.AsFileError(err)
}

// upload sends the file.
func (r *remoteImporter) upload(ctx context.Context, from source, o *importOptions, name string) (i api.Import, err error) {
	query := url.Values{"on_error": {o.onError}, "name": {bulk.CleanName(name)}}
	if o.format != "" {
		query.Set("format", o.format)
	}
	if o.dryRun {
		query.Set("dry_run", "true")
	}
	target := r.server.JoinPath("v1", "imports")
	target.RawQuery = query.Encode()
	ctx, stall := watchStall(ctx, r.stall)
	defer stall.close()
	sent := &countingReader{from: from.file, stall: stall}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), sent)
	if err != nil {
		return i, errors.New("make request: the URL of --server can not be used")
	}
	request.ContentLength = from.bytes
	request.Header.Set("Content-Type", "application/octet-stream")
	shown := r.program.follow(ctx, name+": sending", from.bytes, sent.read.Load)
	defer shown.end()
	err = r.doWith(r.transfer, request, &i)
	return i, err
}

// countingReader counts what is read of it: what is sent, so that it moves.
type countingReader struct {
	from  io.Reader
	stall *stall
	read  atomic.Int64
}

// Read implements io.Reader.
func (c *countingReader) Read(into []byte) (int, error) {
	n, err := c.from.Read(into)
	c.read.Add(int64(n))
	c.stall.moved()
	return n, err
}

// await asks until the import has ended. A server that is away for less than maxStall is waited for.
func (r *remoteImporter) await(ctx context.Context, i api.Import, name string) (api.Import, error) {
	var read atomic.Int64
	shown := r.program.follow(ctx, name, i.Bytes, read.Load)
	defer shown.end()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for heard := time.Now(); !i.State.Ended(); {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return i, ctx.Err()
		}
		next, err := r.ask(ctx, i.ImportID)
		if err == nil {
			i, heard = next, time.Now()
			read.Store(i.ReadBytes)
			continue
		}
		if refused, ok := errors.AsType[*refusedError](err); ok && refused.Status < http.StatusInternalServerError || time.Since(heard) > r.stall {
			return i, err
		}
	}
	return i, nil
}

// ask asks how far an import has come.
func (r *remoteImporter) ask(ctx context.Context, id string) (i api.Import, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.stall, stalled(r.stall))
	defer cancel()
	err = r.get(ctx, nil, &i, "v1", "imports", id)
	return i, err
}

// countRemote takes over the counts of a server.
func (r *fileReport) countRemote(i *api.Import) error {
	netFee, err := money.ParseTotal(i.NetFee)
	if err != nil {
		return fmt.Errorf("net fee of import %s: %w", i.ImportID, err)
	}
	r.Format = i.Format
	r.Stopped = i.State == store.ImportDone && i.OnError == onErrorStop && (i.Claims.Rejected > 0 || i.PartFaults > 0)
	r.count(&store.Tally{Claims: store.Fates(i.Claims), Lines: store.Fates(i.Lines), Warnings: i.Warnings, NetFee: netFee})
	return nil
}

// readFaults reads what is wrong with the file.
func (r *remoteImporter) readFaults(ctx context.Context, id string, report *fileReport) error {
	faults := &faultWriter{report: report}
	return r.part(ctx, faults, report, id, store.FaultsPart)
}

// faultWriter puts faults, one on each line, into a report.
type faultWriter struct {
	report *fileReport
	held   []byte // of a line that is not whole
}

// Write implements io.Writer.
func (w *faultWriter) Write(text []byte) (int, error) {
	w.held = append(w.held, text...)
	for {
		line, rest, whole := bytes.Cut(w.held, []byte("\n"))
		if !whole {
			break
		}
		var fault bulk.Fault
		if err := json.Unmarshal(line, &fault); err != nil {
			return 0, errors.New("read the faults: not those of claimrail")
		}
		w.report.addFault(fault)
		w.held = rest
	}
	if len(w.held) > maxFaultBytes {
		return 0, fmt.Errorf("read the faults: one is longer than %d bytes", maxFaultBytes)
	}
	return len(text), nil
}

// fetch gets a file about the import, where one is wanted, and puts it in its place.
func (r *remoteImporter) fetch(ctx context.Context, into *outFile, report *fileReport, id string, kind store.PartKind) error {
	if into.file == nil {
		return nil
	}
	if err := r.part(ctx, into.file, report, id, kind); err != nil {
		return hint(fmt.Errorf("write %s: %w", into.path, bare(err)), unwrittenHint)
	}
	if err := into.commit(); err != nil {
		return hint(err, unwrittenHint)
	}
	return nil
}

// part downloads a file about the import.
func (r *remoteImporter) part(ctx context.Context, to io.Writer, report *fileReport, id string, kind store.PartKind) error {
	_, media := bulk.PartFormat(report.Format, kind)
	return r.download(ctx, to, media, url.Values{}, "v1", "imports", id, string(kind))
}
