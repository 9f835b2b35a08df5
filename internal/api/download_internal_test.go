package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// downloads serves write as a file on one connection until the test ends, and gives the
// client's side of it. It runs in a bubble of synctest.
func downloads(t *testing.T, log io.Writer, write func(context.Context, io.Writer) error) net.Conn {
	t.Helper()
	a := &API{
		Config: Config{
			Logger: slog.New(slog.NewTextHandler(log, nil)), Observe: func(string, string, int, time.Duration) {}, Now: time.Now,
		},
		inFlight: make(chan struct{}, 1), downloads: make(chan struct{}, 1),
	}
	handler := a.serve(&route{handle: func(w http.ResponseWriter, r *http.Request) error {
		return a.download(w, r, "text/plain", "file.txt", write)
	}})
	client, server := net.Pipe()
	listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- server
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, 1, newServer(handler, slog.New(slog.DiscardHandler)), 0) }()
	t.Cleanup(func() {
		_ = client.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return client
}

// get asks for the file and reads the head of the answer.
func get(t *testing.T, client net.Conn, version string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(client, "GET / HTTP/"+version+"\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A download that moves lasts far longer than any other answer may, and comes whole.
func TestDownloadMayBeSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		piece := bytes.Repeat([]byte("x"), 64<<10)
		client := downloads(t, io.Discard, func(_ context.Context, to io.Writer) error {
			for range 20 {
				<-time.After(time.Minute) // as a database that has to look far
				if _, err := to.Write(piece); err != nil {
					return err
				}
			}
			return nil
		})
		began := time.Now()
		answer := get(t, client, "1.1")
		got, err := io.ReadAll(answer.Body)
		if err != nil || len(got) != 20*len(piece) {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, 20*len(piece))
		}
		if took := time.Since(began); took != 20*time.Minute {
			t.Errorf("took %v, want 20 min", took)
		}
		if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("Content-Disposition") != `attachment; filename="file.txt"` {
			t.Errorf("got header %v", answer.Header)
		}
	})
}

// Whoever takes nothing for half a minute is cut off, and what is held for him is given free.
func TestDownloadMustMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		client := downloads(t, io.Discard, func(_ context.Context, to io.Writer) error {
			for {
				if _, err := to.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
					failed <- err
					return err
				}
			}
		})
		began := time.Now()
		get(t, client, "1.1") // and reads no further
		<-failed
		if took := time.Since(began); took != pieceTimeout {
			t.Errorf("cut off after %v, want %v", took, pieceTimeout)
		}
	})
}

// A file that breaks off in the middle does not look whole to a client, and the log says why, once;
// before the first byte it is an error like any other. HTTP/1.0, which can not tell, gets none, and that is no
// error of ours.
func TestDownloadBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		client := downloads(t, &log, func(_ context.Context, to io.Writer) error {
			_, err := to.Write(make([]byte, 64<<10))
			return errors.Join(err, errors.New("the disk is gone"))
		})
		answer := get(t, client, "1.1")
		if got, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) || answer.StatusCode != http.StatusOK {
			t.Errorf("got %d, %d bytes, %v, want %v", answer.StatusCode, len(got), err, io.ErrUnexpectedEOF)
		}
		synctest.Wait()
		if strings.Count(log.String(), "the disk is gone") != 1 {
			t.Errorf("log: got %s", log.String())
		}
	})
	for version, want := range map[string]int{"1.1": http.StatusInternalServerError, "1.0": http.StatusHTTPVersionNotSupported} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			client := downloads(t, &log, func(context.Context, io.Writer) error { return errors.New("the disk is gone") })
			if answer := get(t, client, version); answer.StatusCode != want {
				t.Errorf("HTTP/%s: got %s, want %d", version, answer.Status, want)
			}
			synctest.Wait()
			if failed := strings.Contains(log.String(), "level=ERROR"); failed != (want == http.StatusInternalServerError) {
				t.Errorf("HTTP/%s: got log %s", version, log.String())
			}
		})
	}
}
