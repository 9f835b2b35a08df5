package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// against runs claimrail against a server that always gives the same answer.
func against(t *testing.T, status int, body string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	var out, messages bytes.Buffer
	code = run(t.Context(), append(args, "--server", server.URL), strings.NewReader(""), &out, &messages, nil)
	return code, out.String(), messages.String()
}

// Whatever a server answers, the command says what happened and fails.
func TestAnswersOfServers(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		status int
		body   string
		want   string
	}{
		{503, `{"type":"x","status":503,"detail":"the claims database can not be used now","code":"claims-unavailable"}`, "can not be used now (claims-unavailable)"},
		{429, `{"detail":{"errors":[{"loc":[],"msg":"too many requests","code":"rate-limit"}]}}`, "too many requests (rate-limit)\nhint: try again in 7 seconds"},
		{404, "<html>not here</html>", "which is not an answer of claimrail\nhint: is --server the URL"},
		{200, "<html>hello</html>", "not that of claimrail\nhint: is --server the URL"},
		{302, "", "302 Found, which is not an answer"},
		{200, `"` + strings.Repeat("x", maxAnswerBytes) + `"`, "longer than 16777216 bytes"},
	} {
		code, stdout, stderr := against(t, example.status, example.body, "top")
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, example.want) {
			t.Errorf("status %d: got code %d, stdout %q, stderr %q; want %q", example.status, code, stdout, stderr, example.want)
		}
	}
}

// A file that a server refuses is told as the file's fault, and none of it is counted as stored.
func TestRefusedByServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "claim.csv")
	const text = "service date,submitted procedure,quadrant,plan group,subscriber,provider npi,provider fees,allowed fees,member coinsurance,member copay\n" +
		"3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,1,1,0,0\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{400, 413, 415, 422} {
		code, stdout, stderr := against(t, status, fmt.Sprintf(`{"status":%d,"detail":"not like this","code":"some-code"}`, status), "import", path)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, "import "+path+": not like this (some-code)") {
			t.Errorf("status %d: got code %d, stdout %q, stderr %q", status, code, stdout, stderr)
		}
	}
}

// An import that was cancelled on the server, or failed there, is told as that, also where it ended before
// there were any faults to tell.
func TestEndedOnServer(t *testing.T) {
	t.Parallel()
	const id = "0190f5fe-7c00-7000-8000-000000000001"
	for state, want := range map[string]string{
		`"state":"cancelled"`:                              "import " + id + " was cancelled\nhint: ",
		`"state":"failed","error":"the file is not whole"`: ": the file is not whole\nhint: correct the file",
	} {
		if code, messages := endedOnServer(t, id, state); code != exitFailed || !strings.Contains(messages, want) {
			t.Errorf("%s: got code %d, %q, want %q", state, code, messages, want)
		}
	}
}

// endedOnServer imports a file over a server where the import ends at once as it says, without faults.
func endedOnServer(t *testing.T, id, state string) (code int, said string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/v1/imports" && r.URL.Path != "/v1/imports/"+id {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"status":404,"detail":"there is no such file","code":"no-such-file"}`)
			return
		}
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
		}
		_, _ = io.WriteString(w, `{"import_id":"`+id+`",`+state+`,"net_fee":"0.00"}`)
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "claim.csv")
	const text = "service date,submitted procedure,quadrant,plan group,subscriber,provider npi,provider fees,allowed fees,member coinsurance,member copay\n" +
		"3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,1,1,0,0\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, messages bytes.Buffer
	code = run(t.Context(), []string{"import", path, "--server", server.URL}, strings.NewReader(""), &out, &messages, nil)
	return code, messages.String()
}

// A reader that has seen enough is no failure.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"version"}, strings.NewReader(""), closedPipe{}, &stderr, nil); code != exitDone || stderr.Len() > 0 {
		t.Errorf("got code %d, stderr %q", code, &stderr)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

// A mistyped name is taken for the nearest, and nonsense for none.
func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"json", "server", "data-dir", "limit"}
	for typed, want := range map[string]string{"jsn": "json", "sever": "server", "datadir": "data-dir", "limti": "limit", "verbose": "", "x": ""} {
		if got, _ := nearest(typed, known); got != want {
			t.Errorf("%s: got %q, want %q", typed, got, want)
		}
	}
}
