package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A server on loopback goes by names of loopback and by those that it is given, and by no other.
func TestServeHosts(t *testing.T) {
	t.Parallel()
	url := startServer(t, t.TempDir(), "--allow-hosts", "claims.example.org")
	for host, want := range map[string]int{"": http.StatusOK, "localhost": http.StatusOK, "claims.example.org": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host // "": that of the URL
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%q: got %s, want %d", host, answer.Status, want)
		}
	}
}

// A server that is told to stop is reached for --stop-delay yet, and says that it stops.
func TestServeStopDelay(t *testing.T) {
	t.Parallel()
	url, stop := startServerToStop(t, t.TempDir(), "--stop-delay", "2s")
	stop()
	for status := http.StatusOK; status != http.StatusServiceUnavailable; { // until the stop has got there
		answer, err := http.Get(url + "/readyz")
		if err != nil {
			t.Fatalf("the server stopped without a word: %v", err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if status = answer.StatusCode; status != http.StatusOK && !strings.Contains(string(text), `"stopping"`) {
			t.Fatalf("got %d: %s", status, text)
		}
	}
}
