package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Limits of answers that are files of any length. They bound how long a view of a database
// is held for whoever takes one.
const (
	// maxDownloads bounds those under way at once; each takes a connection to a database.
	maxDownloads = 4
	// downloadTimeout bounds one of them.
	downloadTimeout = 2 * time.Hour
	// pieceTimeout is how long a client may take for what is written at once, some 64 KiB.
	pieceTimeout = 30 * time.Second
)

var errDownloads = &fault{
	status: http.StatusServiceUnavailable, code: "busy",
	detail: "too many files are being downloaded; try again a little later", retryAfter: 10 * retry,
}

// download answers with a file that is made while it is sent. An error before its first
// byte is answered as any other; later the connection is broken off, so that what came can
// not be taken for the whole.
func (a *API) download(w http.ResponseWriter, r *http.Request, kind, name string, write func(context.Context, io.Writer) error) error {
	if !r.ProtoAtLeast(1, 1) {
		return newFault(http.StatusHTTPVersionNotSupported, "http-version",
			"use HTTP/1.1 or later: in HTTP/1.0 the end of a file looks the same as its being cut off")
	}
	select {
	case a.downloads <- struct{}{}:
		defer func() { <-a.downloads }()
	default:
		return errDownloads
	}
	ctx, cancel := context.WithTimeout(r.Context(), downloadTimeout)
	defer cancel()
	file := &fileWriter{to: w, control: http.NewResponseController(w), kind: kind, name: name}
	var err error
	if r.Method != http.MethodHead {
		err = write(ctx, file)
	}
	switch {
	case err != nil && file.begun:
		if r.Context().Err() == nil {
			a.Logger.LogAttrs(r.Context(), slog.LevelError, "download broken off", slog.String("route", r.Pattern), slog.Any("error", err))
		}
		panic(http.ErrAbortHandler)
	case err == nil:
		file.begin()
	}
	return err
}

// fileWriter is the body of a download. Its first byte sends the header.
type fileWriter struct {
	to         http.ResponseWriter
	control    *http.ResponseController
	kind, name string
	begun      bool
}

func (f *fileWriter) begin() {
	if f.begun {
		return
	}
	f.begun = true
	header := f.to.Header()
	header.Set("Content-Type", f.kind)
	header.Set("Content-Disposition", `attachment; filename="`+f.name+`"`)
	header.Set("Cache-Control", "no-store") // it may hold PHI
	f.to.WriteHeader(http.StatusOK)
}

// Write implements io.Writer. The server's own limit is that of a whole answer; here it is
// that of a piece, so that a download may last as long as it moves.
func (f *fileWriter) Write(piece []byte) (int, error) {
	f.begin()
	_ = f.control.SetWriteDeadline(time.Now().Add(pieceTimeout)) // not supported: then there is no limit
	return f.to.Write(piece)
}
