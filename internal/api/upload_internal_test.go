package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/bulk"
)

// newUploadAPI gives an API whose desk has no database: for files that are refused before one is
// needed.
func newUploadAPI() *API {
	logger := slog.New(slog.DiscardHandler)
	return New(Config{
		Imports: bulk.NewDesk(nil, nil, nil, time.Now, logger), Metrics: http.NotFoundHandler(), Logger: logger, Now: time.Now,
		Observe: func(string, string, int, time.Duration) {},
	})
}

// Whoever is refused a file and does not take the answer, or goes on to send as slowly as a file may
// come in, is cut off.
func TestRefusedUploadIsCutOff(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nPK\x03\x04"
	for name, test := range map[string]struct {
		client func(net.Conn) error // until it is cut off
		within time.Duration
	}{
		"takes no answer": {func(client net.Conn) error {
			_, err := client.Write(make([]byte, 100_000))
			return err
		}, pieceTimeout + bodyGrace},
		"goes on slowly": {func(client net.Conn) error {
			go func() { _, _ = io.Copy(io.Discard, client) }()
			for {
				<-time.After(time.Second)
				if _, err := client.Write([]byte("x")); err != nil {
					return err
				}
			}
		}, bodyGrace + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newUploadAPI()
				client, server := net.Pipe()
				listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
				listener.conn <- server
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				handler := a.serve(&route{handle: a.createImport})
				go func() { ended <- serve(ctx, listener, 1, newServer(handler, slog.New(slog.DiscardHandler)), 0) }()
				if _, err := io.WriteString(client, head+strings.Repeat("x", 8<<10)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_ = client.SetDeadline(began.Add(time.Hour)) // for a test that fails
				if err := test.client(client); err == nil {
					t.Error("the client is not cut off")
				}
				if took := time.Since(began); took > test.within {
					t.Errorf("the client is cut off after %v, want %v at most", took, test.within)
				}
				_ = client.Close()
				stop()
				if err := <-ended; err != nil {
					t.Errorf("serve: %v", err)
				}
			})
		})
	}
}

// watchedStop is the context of a server, which counts who waits for it to stop.
type watchedStop struct {
	context.Context
	done    chan struct{}
	waiting atomic.Int64
}

// Done is never closed. It is not that of the context inside, so that AfterFunc is called.
func (w *watchedStop) Done() <-chan struct{} { return w.done }

// AfterFunc is what context.AfterFunc uses.
func (w *watchedStop) AfterFunc(func()) func() bool {
	w.waiting.Add(1)
	return func() bool {
		w.waiting.Add(-1)
		return true
	}
}

// However a file is refused, nothing waits for the server's stop for its sake any more, and its place is
// free.
func TestRefusedUploadsLeaveNothing(t *testing.T) {
	t.Parallel()
	a := newUploadAPI()
	server := &watchedStop{Context: t.Context(), done: make(chan struct{})}
	send := func(kind string, body io.Reader) int {
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), stoppingKey{}, server), http.MethodPost, "/", body)
		r.Header.Set("Content-Type", kind)
		recorder := httptest.NewRecorder()
		a.serve(&route{handle: a.createImport}).ServeHTTP(recorder, r)
		return recorder.Code
	}
	lost := errors.New("connection lost")
	form := formType + "; boundary=b"
	for name, test := range map[string]struct {
		kind   string
		body   func() io.Reader
		status int
	}{
		"format":          {"text/csv", func() io.Reader { return strings.NewReader("PK\x03\x04") }, http.StatusUnsupportedMediaType},
		"broken off":      {"text/csv", func() io.Reader { return iotest.ErrReader(lost) }, http.StatusBadRequest},
		"no file":         {form, func() io.Reader { return strings.NewReader("--b--\r\n") }, http.StatusBadRequest},
		"a field":         {form, func() io.Reader { return formOf("") }, http.StatusBadRequest},
		"format in form":  {form, func() io.Reader { return formOf("PK\x03\x04") }, http.StatusUnsupportedMediaType},
		"form broken off": {form, func() io.Reader { return iotest.ErrReader(lost) }, http.StatusBadRequest},
		"panic":           {"text/csv", func() io.Reader { return panicking{} }, http.StatusInternalServerError},
	} {
		for range 20 { // more than may come in at once
			if got := send(test.kind, test.body()); got != test.status {
				t.Fatalf("%s: got %d, want %d", name, got, test.status)
			}
		}
		if got := server.waiting.Load(); got != 0 {
			t.Errorf("%s: %d still wait for the stop, want none", name, got)
			server.waiting.Store(0)
		}
	}
	const places = 8
	received := make(chan error, places)
	senders := make([]*io.PipeWriter, places)
	for i := range senders {
		var body *io.PipeReader
		body, senders[i] = io.Pipe()
		go func() {
			_, err := a.Imports.Receive(t.Context(), body, bulk.Wanted{})
			received <- err
		}()
		_, _ = senders[i].Write([]byte("x")) // it is read, so it has its place
	}
	if got := send("text/csv", strings.NewReader("x")); got != http.StatusServiceUnavailable {
		t.Errorf("busy: got %d, want 503", got)
	}
	if got := server.waiting.Load(); got != 0 {
		t.Errorf("busy: %d still wait for the stop, want none", got)
	}
	for _, sender := range senders {
		_ = sender.CloseWithError(lost)
		if err := <-received; !errors.Is(err, lost) {
			t.Errorf("receive: got %v, want %v", err, lost)
		}
	}
}

// formOf gives a form with a file, or with a field where it is empty.
func formOf(file string) io.Reader {
	name := `"field"`
	if file != "" {
		name += `; filename="f"`
	}
	return bytes.NewBufferString("--b\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n" + file + "\r\n--b--\r\n")
}

// panicking is a body that nobody can read.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("as a mistake would") }
