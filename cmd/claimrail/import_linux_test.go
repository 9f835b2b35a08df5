package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/claimrail/claimrail/internal/store"
)

// newSmallDisk mounts a file system of 8 KiB. Where nobody may mount, the test
// is skipped.
func newSmallDisk(t *testing.T) string {
	t.Helper()
	path := t.TempDir()
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size=8k")
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" { // CI is set for all of it
		t.Skip("a disk can not be filled here: mounting one is not permitted")
	}
	if err != nil {
		t.Fatalf("mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
	return path
}

// fill leaves no room on the disk.
func fill(t *testing.T, disk string) {
	t.Helper()
	err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 16<<10), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: got %v, want %v", err, syscall.ENOSPC)
	}
}

// What was rejected and could not be written to its end, on a full disk, is not put in its place, and nobody
// is told to correct it; with room, the same command gives it.
func TestRejectsOnFullDisk(t *testing.T) {
	t.Parallel()
	folder, disk := t.TempDir(), newSmallDisk(t)
	file, rejects := filepath.Join(folder, "claims.csv"), filepath.Join(disk, "rejects.csv")
	text := importHeader + "F-1,3/28/18 0:00,D0180,,GRP-1000,3730189502,12345,1,1,0,0\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, disk)
	command := []string{"import", file, "--rejects", rejects, "--data-dir", filepath.Join(folder, "data")}
	var stderr bytes.Buffer
	code := run(t.Context(), command, strings.NewReader(""), io.Discard, &stderr, nil)
	if code != exitFailed || !strings.Contains(stderr.String(), "no space left") ||
		!strings.Contains(stderr.String(), "hint: make room") || strings.Contains(stderr.String(), "correct them") {
		t.Errorf("got exit code %d and %q, want what to do about the disk", code, &stderr)
	}
	if found, err := os.ReadDir(disk); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v, want the filler alone", found, err)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	stderr.Reset()
	run(t.Context(), command, strings.NewReader(""), io.Discard, &stderr, nil)
	if written, err := os.ReadFile(rejects); err != nil || !bytes.Contains(written, []byte("npi-digits")) {
		t.Errorf("with room: got %q, %v and %q, want what was rejected", written, err, &stderr)
	}
}

// Rejects that a server gives, and that do not fit on the disk, are not put in their place either, and the
// hint is what to do about the disk.
func TestRejectsOfServerOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	fill(t, disk)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_, _ = w.Write(make([]byte, 64<<10))
	}))
	defer server.Close()
	rejects := filepath.Join(disk, "rejects.csv")
	out, err := createOut(rejects, false)
	if err != nil {
		t.Fatal(err)
	}
	defer out.drop()
	err = newStallTest(t, server.URL).fetch(t.Context(), out, &fileReport{Format: "csv"}, "1", store.RejectsPart)
	if hinted, ok := errors.AsType[*hintedError](err); !ok || hinted.hint != unwrittenHint || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want what to do about the disk", err)
	}
	out.drop()
	if got := namesIn(t, disk); len(got) != 1 {
		t.Errorf("got %q, want the filler alone", got)
	}
}
