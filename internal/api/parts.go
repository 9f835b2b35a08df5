package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/store"
)

// sendPart sends a file about an import that has ended.
func (a *API) sendPart(w http.ResponseWriter, r *http.Request, kind store.PartKind) error {
	found, err := a.importOf(r.Context(), r)
	if err != nil {
		return err
	}
	if err := partFault(&found, kind, a.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), downloadTimeout) // the file is read by it
	defer cancel()
	file, err := a.Imports.Open(ctx, found.ID, kind)
	if errors.Is(err, store.ErrNotFound) {
		return noSuchFile(&found, kind)
	}
	if err != nil {
		return err
	}
	format, media := bulk.PartFormat(found.Format, kind)
	return a.download(w, r, media, fmt.Sprintf("%s-%s.%s", kind, found.ID, format), func(_ context.Context, to io.Writer) error {
		_, err := io.Copy(to, file)
		return err
	})
}

// partFault tells what keeps a file about an import from being sent, before it is looked for.
func partFault(found *store.Import, kind store.PartKind, now time.Time) error {
	switch {
	case kind == store.AcknowledgementPart && found.Format != "" && found.Format != "x12":
		return newFault(http.StatusNotFound, "no-acknowledgement", "only X12 is acknowledged, and this file is not X12; see its rejects")
	case !found.Kept:
		return newFault(http.StatusNotFound, "no-such-file", "this import is of the claimrail import command, which wrote its files where --rejects and --ack told it to")
	case isClosing(found, now):
		f := newFault(http.StatusConflict, "not-ended", "the import was cancelled a moment ago, and what it found is being written down; ask again")
		f.retryAfter = retry
		return f
	case !found.State.Ended():
		return newFault(http.StatusConflict, "not-ended", "the import has not ended yet; watch its events")
	case found.Forgotten:
		return newFault(http.StatusGone, "forgotten", "files about an import are kept for 24 hours; send the file again to have them anew")
	case found.State == store.ImportCancelled && !found.LeasedUntil.IsZero(): // perhaps there is a part of the file
		return newFault(http.StatusNotFound, "no-such-file", "the import was cancelled when its server was gone, which had not written down what it found; send the file again")
	default:
		return nil
	}
}

// noSuchFile tells why there is no such file about an import that has ended.
func noSuchFile(found *store.Import, kind store.PartKind) error {
	code, detail := "no-such-file", "the import ended before there was any such file; it says why in error"
	switch {
	case found.State == store.ImportCancelled && found.StartedAt.IsZero():
		detail = "the import was cancelled before anything of the file was read; send the file again"
	case found.State == store.ImportCancelled && kind == store.AcknowledgementPart:
		code, detail = "no-acknowledgement", "the import was cancelled before all of the file was read, so that its sets are not acknowledged; see its rejects and faults, or send the file again"
	case found.State == store.ImportCancelled:
		detail = "the import was cancelled before the first claim was judged; send the file again"
	case kind != store.FaultsPart:
		detail += ", and perhaps in its faults"
	}
	return newFault(http.StatusNotFound, code, detail)
}
