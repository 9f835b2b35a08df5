package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The health check of a container fails, and names what is missing, where the server is
// not ready or something else answers.
func TestHealthyFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		body   string
		want   string
	}{
		{503, `{"status":"not ready","checks":{"broker":"ok","claims_database":"unavailable","payments_database":"unavailable"}}`, " is not ready: claims_database unavailable, payments_database unavailable\nhint: its log says why\n"},
		{503, `{"detail":"busy"}`, "503 Service Unavailable, which is not an answer of claimrail\nhint: is --server"},
		{200, "<html>hello</html>", "200 OK, which is not an answer of claimrail\nhint: is --server"},
		{200, "{}", "200 OK, which is not an answer of claimrail"},
	} {
		code, stdout, stderr := against(t, test.status, test.body, "healthy")
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%d %s: got code %d, stdout %q, stderr %q; want %q", test.status, test.body, code, stdout, stderr, test.want)
		}
	}
}

// A server that listens on all addresses is asked on loopback, one with an address of its
// own there; an address that is none stays as it is.
func TestReachable(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"0.0.0.0:8000": "127.0.0.1:8000", "[::]:8000": "127.0.0.1:8000", ":8000": "127.0.0.1:8000",
		"127.0.0.1:8000": "127.0.0.1:8000", "[::1]:8000": "[::1]:8000", "10.1.2.3:80": "10.1.2.3:80", "localhost:8000": "localhost:8000",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s: got %s, want %s", listen, got, want)
		}
	}
}

// Where the settings have the server listen on all addresses, the health check finds it,
// as it does in a container.
func TestHealthyOnAllAddresses(t *testing.T) {
	t.Parallel()
	for _, all := range []string{"0.0.0.0", "[::]"} {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", all+":0")
		if err != nil {
			t.Logf("%s: %v", all, err) // a machine without IPv6
			continue
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write([]byte(`{"status":"ready","checks":{}}`))
		}))
		_ = server.Listener.Close()
		server.Listener = listener
		server.Start()
		defer server.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"healthy"}, strings.NewReader(""), &stdout, &stderr,
			[]string{"CLAIMRAIL_LISTEN=" + all + ":" + port, "CLAIMRAIL_ALLOW_UNAUTHENTICATED=true"})
		if code != exitDone || stdout.String() != "ready\n" {
			t.Errorf("%s: got code %d, stdout %q, stderr %q", all, code, &stdout, &stderr)
		}
	}
}
