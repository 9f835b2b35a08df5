package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/store"
)

// testStall is short, and yet longer than what moves stands still in these tests.
const testStall = 300 * time.Millisecond

// newMute gives the address of a server that takes connections and what is sent as far as the
// system does so by itself, and says nothing.
func newMute(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	var taken []net.Conn
	accepting.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			taken = append(taken, connection)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		for _, connection := range taken {
			_ = connection.Close()
		}
	})
	return "http://" + listener.Addr().String()
}

// newStallTest gives an import over a server that may be mute for testStall.
func newStallTest(t *testing.T, server string) *remoteImporter {
	t.Helper()
	r, err := (&program{server: server, stderr: io.Discard}).openRemoteImporter()
	if err != nil {
		t.Fatal(err)
	}
	r.stall = testStall
	t.Cleanup(func() { _ = r.close() })
	return r
}

// newSource gives a file to import, of a length.
func newSource(t *testing.T, bytes int64) source {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "claims.csv"))
	if err == nil {
		err = file.Truncate(bytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return source{file: file, bytes: bytes}
}

// A server that is there and says nothing, as one that was stopped, ends an upload, be it in front of
// the answer or while bytes are to be taken; so it does a download, and the wait for an import.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	for name, work := range map[string]func(context.Context, *remoteImporter) error{
		"answer": func(ctx context.Context, r *remoteImporter) error {
			_, err := r.upload(ctx, newSource(t, 10), &importOptions{}, "claims.csv")
			return err
		},
		"upload": func(ctx context.Context, r *remoteImporter) error {
			_, err := r.upload(ctx, newSource(t, 64<<20), &importOptions{}, "claims.csv")
			return err
		},
		"wait": func(ctx context.Context, r *remoteImporter) error {
			_, err := r.await(ctx, api.Import{State: store.ImportRunning}, "claims.csv")
			return err
		},
		"download": func(ctx context.Context, r *remoteImporter) error {
			return r.download(ctx, io.Discard, export.CSV.ContentType(), url.Values{}, "v1", "export", "claims")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
			defer cancel()
			err := work(ctx, newStallTest(t, newMute(t)))
			if err == nil || !strings.Contains(err.Error(), "nothing moved for 300ms") || ctx.Err() != nil {
				t.Errorf("got %v, want that nothing moved", err)
			}
		})
	}
}

// A download of any length is not ended as long as it moves, and is once it does not; what came before is
// written.
func TestDownloadStandsStill(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", export.CSV.ContentType())
		tick := time.NewTicker(testStall / 10)
		defer tick.Stop()
		for range 15 { // longer than testStall
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			<-tick.C
		}
		<-done
	}))
	defer server.Close()
	defer close(done)
	var got bytes.Buffer
	err := newStallTest(t, server.URL).download(t.Context(), &got, export.CSV.ContentType(), url.Values{}, "v1", "export", "claims")
	if _, hinted := errors.AsType[*hintedError](err); !hinted || !strings.Contains(err.Error(), "nothing moved for 300ms") || got.Len() != 15 {
		t.Errorf("got %v behind %d bytes, want that nothing moved behind 15", err, got.Len())
	}
}
