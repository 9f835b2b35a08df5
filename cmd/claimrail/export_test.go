package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A download that breaks off fails the command and leaves what was there before, whether it went to a
// file or to standard output; so does an answer that is none of ours.
func TestExportBrokenOff(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		name, want string
		answer     http.HandlerFunc
	}{
		{"broken off", "ended the download before its end", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
			_, _ = w.Write([]byte("external_claim_id\n"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"refused", "too many files are being downloaded (busy)\nhint: try again in 10 seconds", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "10")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"status":503,"detail":"too many files are being downloaded","code":"busy"}`))
		}},
		{"another server", "is --server the URL of 'claimrail serve'?", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>"))
		}},
	} {
		t.Run(example.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(example.answer)
			defer server.Close()
			folder := t.TempDir()
			file := filepath.Join(folder, "claims.csv")
			if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, output := range [][]string{{"--output", file, "--force"}, nil} {
				var out, messages bytes.Buffer
				args := append([]string{"export", "claims", "--server", server.URL}, output...)
				if code := run(t.Context(), args, strings.NewReader(""), &out, &messages, nil); code != exitFailed {
					t.Errorf("%q: got exit code %d, want %d", output, code, exitFailed)
				}
				if !strings.Contains(messages.String(), example.want) {
					t.Errorf("%q: got %q, want %q", output, messages.String(), example.want)
				}
				if whole := "what was written is not the whole"; out.Len() > 0 && !strings.Contains(messages.String(), whole) {
					t.Errorf("got %q, want %q", messages.String(), whole)
				}
			}
			found, err := os.ReadDir(folder)
			if err != nil || len(found) != 1 {
				t.Errorf("got %v, %v, want one file", found, err)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != "before" {
				t.Errorf("got %q, %v, want what was there before", text, err)
			}
		})
	}
}
