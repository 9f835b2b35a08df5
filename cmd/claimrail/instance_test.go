package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two claims, of which the second is rejected.
const (
	goodRow = "I-1,3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,100,90,5,0\n"
	badRow  = "I-2,3/28/18 0:00,D0180,,GRP-1000,3730189502,14977,100,90,5,0\n"
)

// A file for a data directory that a server has goes to that server, which one line says, and does there
// what it does with --server; flags that make no sense there are refused, and nothing is sent.
func TestImportFindsServer(t *testing.T) {
	t.Parallel()
	file, data := writeText(t, "claims.csv", importHeader+goodRow+badRow), t.TempDir()
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	server := startServer(t, data)
	inUse := fmt.Sprintf("data directory %s is in use by 'claimrail serve'", data)
	code, stdout, stderr := do(t, "import", file, "--data-dir", data, "--rules", "npi-check-digit=off")
	if code != exitMisuse || stdout != "" || !strings.HasPrefix(stderr, "claimrail: --rules: "+inUse+" (pid ") || !strings.Contains(stderr, "\nhint: leave it out, or stop the server\n") {
		t.Errorf("with --rules: got exit code %d, %q and %q", code, stdout, stderr)
	}
	if _, stdout, _ = do(t, "claims", "list", "--json", "--data-dir", data); stdout != `{"claims":[]}`+"\n" {
		t.Errorf("with --rules: got %s, want no claim", stdout)
	}
	code, stdout, stderr = do(t, "import", file, "--data-dir", data, "--rejects", rejects, "--log-level", "warn")
	if want := ": 2 rows, 2 claims: 1 accepted, 0 duplicates, 1 rejected, "; code != exitFailed || !strings.Contains(stdout, want) {
		t.Errorf("got exit code %d and %q, want %q", code, stdout, want)
	}
	if want := inUse + ": the server at " + server + " imports what is given\n"; !strings.HasPrefix(stderr, want) {
		t.Errorf("got %q, want %q", stderr, want)
	}
	if text, err := os.ReadFile(rejects); err != nil || !strings.Contains(string(text), "npi-digits") {
		t.Errorf("rejects: got %q and %v", text, err)
	}
	if _, stdout, _ = do(t, "claims", "list", "--json", "--server", server); strings.Count(stdout, `"claim_id"`) != 1 {
		t.Errorf("got %s, want one claim on the server", stdout)
	}
}

// A file goes to no server but the one that has the data directory, and says so: not where another command
// has it, nor where the server stores its claims elsewhere, is not ready, or is not the one of the lock file.
func TestImportFindsNoServer(t *testing.T) {
	t.Parallel()
	file := writeText(t, "claims.csv", importHeader+goodRow)
	other := httptest.NewServer(named(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != readyPath {
			t.Errorf("the server is sent %s %s", r.Method, r.URL)
		}
	}), "another"))
	defer other.Close()
	stopping := httptest.NewServer(named(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}), "one"))
	defer stopping.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, by := range map[string]holder{
		"import":    {command: "import"},
		"elsewhere": {command: "serve", url: other.URL},
		"another":   {command: "serve", url: other.URL, instance: "one"},
		"not ready": {command: "serve", url: stopping.URL, instance: "one"},
		"away":      {command: "serve", url: closed.URL, instance: "one"},
		"no URL":    {command: "serve", url: "http://[", instance: "one"},
	} {
		data := t.TempDir()
		unlock, err := lockDataDir(data, by)
		if err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := do(t, "import", file, "--data-dir", data)
		want := fmt.Sprintf("claimrail: data directory %s is in use by 'claimrail %s' (pid %d", data, by.command, os.Getpid())
		if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, want) || !strings.Contains(stderr, "\nhint: ") {
			t.Errorf("%s: got exit code %d, %q and %q, want %q", name, code, stdout, stderr, want)
		}
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
}
