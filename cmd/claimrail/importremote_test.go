package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// do runs the program with these arguments.
func do(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, messages bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &messages, nil)
	return code, out.String(), messages.String()
}

// writeText writes a file of a new folder.
func writeText(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A claim whose lines are each of the largest fee comes in over a server and is paid: what one fee may be
// at most is no limit of their sum, neither in the counts nor in what payments says of it.
func TestTotalBeyondOneFee(t *testing.T) {
	t.Parallel()
	const row = "L-1,3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,99999999.99,0,0,0\n"
	file := writeText(t, "large.csv", importHeader+strings.Repeat(row, 3))
	server := startServer(t, t.TempDir())
	code, stdout, stderr := do(t, "import", file, "--server", server)
	if want := file + ": 3 rows, 1 claims: 1 accepted, 0 duplicates, 0 rejected, 0 warnings; net fee 299999999.97\n"; code != exitDone || stdout != want {
		t.Errorf("got exit code %d, %q and %q, want %q", code, stdout, stderr, want)
	}
	tick, late := time.NewTicker(20*time.Millisecond), time.NewTimer(readyTimeout)
	defer tick.Stop()
	defer late.Stop()
	for !strings.Contains(stdout, `"status":"settled"`) {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("after %v the claim is not settled: %s", readyTimeout, stdout)
		}
		if code, stdout, stderr = do(t, "claims", "list", "--json", "--server", server); code != exitDone || !strings.Contains(stdout, `"net_fee":"299999999.97"`) {
			t.Fatalf("list: got exit code %d, %s and %q", code, stdout, stderr)
		}
	}
	if code, stdout, stderr = do(t, "top", "--server", server); code != exitDone || !strings.Contains(stdout, " 299999999.97 ") {
		t.Errorf("top: got exit code %d, %q and %q", code, stdout, stderr)
	}
}

// An import goes on to be asked for while its server is away, as when it starts again: a connection that
// breaks, a server that is not ready, and a proxy with nobody behind it are no end of it.
func TestServerAwayDuringImport(t *testing.T) {
	t.Parallel()
	behind, err := url.Parse(startServer(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	away := []http.HandlerFunc{
		broken, broken, // the first, on a connection that was in use before, is asked again by net/http
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":503,"detail":"the claims database can not be used now","code":"claims-unavailable"}`)
		},
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }}
	var asked atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") == 3 { // the import itself, and no file about it
			if n := asked.Add(1); n <= int64(len(away)) {
				away[n-1](w, r)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	file := writeText(t, "claims.csv", importHeader+"T-1,3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,100,90,5,0\n")
	code, stdout, stderr := do(t, "import", file, "--server", front.URL)
	if want := file + ": 1 rows, 1 claims: 1 accepted, 0 duplicates, 0 rejected, 0 warnings; net fee 15.00\n"; code != exitDone || stdout != want || stderr != "" {
		t.Errorf("got exit code %d, %q and %q, want %q", code, stdout, stderr, want)
	}
	if got, least := asked.Load(), int64(len(away)+1); got < least {
		t.Errorf("the server was asked %d times, want %d or more", got, least)
	}
}
