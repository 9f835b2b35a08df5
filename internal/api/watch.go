package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/claimrail/claimrail/internal/store"
)

// Limits of watching.
const (
	maxWatchers = 64 // of imports, at once
	// watchEvery is how often a watcher reads its import: any instance may be at work on it.
	watchEvery = 500 * time.Millisecond
	// stillEvery is how long nothing is sent where nothing changes, so that nobody in between
	// takes the connection for a dead one.
	stillEvery = 15 * time.Second
)

var errWatchers = &fault{
	status: http.StatusServiceUnavailable, code: "busy",
	detail: "too many watch imports; ask GET /v1/imports/{import_id} now and then", retryAfter: 10 * time.Second,
}

// watchImport is GET /v1/imports/{import_id}/events.
func (a *API) watchImport(w http.ResponseWriter, r *http.Request) error {
	select {
	case a.watchers <- struct{}{}:
		defer func() { <-a.watchers }()
	default:
		return errWatchers
	}
	found, err := a.importOf(r.Context(), r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies would hold the events back
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	stopped := stopping(r.Context()).Done()
	var sent Import
	for at := time.Now(); ; {
		next, over := a.newEvent(&found)
		if next != sent || over || time.Since(at) >= stillEvery {
			if err := sendEvent(w, &next, over); err != nil || over {
				return nil // a client that went away does not want to know
			}
			sent, at = next, time.Now()
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return nil
		case <-stopped:
			return nil // the client comes again, to another instance
		}
		if again, err := a.importOf(r.Context(), r); err == nil { // else it may be there next time
			found = again
		}
	}
}

// newEvent gives an import such that two are equal where nothing happened, and whether it is the last
// that there is to be told.
func (a *API) newEvent(i *store.Import) (next Import, over bool) {
	at := a.Now()
	over = i.State.Ended() && !isClosing(i, at)
	if i.State == store.ImportRunning {
		at = at.Truncate(time.Second)
	}
	next = NewImport(i, at)
	return next, over || next.State == stateInterrupted
}

// sendEvent sends one event, at once.
func sendEvent(w http.ResponseWriter, next *Import, over bool) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	name := "progress"
	if over {
		name = "end"
	}
	var event bytes.Buffer
	event.WriteString("event: " + name + "\ndata: ")
	event.Write(text)
	event.WriteString("\n\n")
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(pieceTimeout))
	if _, err := w.Write(event.Bytes()); err != nil {
		return err
	}
	return control.Flush()
}
