package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importHeader names the columns of the files to be imported.
const importHeader = "claim number,service date,submitted procedure,quadrant,plan group number,subscriber number,provider npi,provider fees,allowed fees,member coinsurance,member copay\n"

// namesIn gives the names in a folder, in their order.
func namesIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

// What a process that was killed left of a file of rejects, or of an export, is for its user's eyes
// only, and goes with the next command that writes the same file.
func TestLeftPartsAreRemoved(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"import", "claims.csv", "--rejects", "out.csv"}, {"export", "claims", "--output", "out.csv"}} {
		t.Run(command[0], func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			text := importHeader + "K-1,3/28/18 0:00,D0180,,GRP-1000,3730189502,1497775530,1,1,0,0\n"
			if err := os.WriteFile(filepath.Join(folder, "claims.csv"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			asked, done := make(chan struct{}, 10), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				asked <- struct{}{}
				<-done
			}))
			defer server.Close()
			defer close(done)
			killed := exec.CommandContext(t.Context(), "claimrail", append(command, "--server", server.URL)...)
			killed.Dir = folder
			if err := killed.Start(); err != nil {
				t.Fatal(err)
			}
			<-asked
			if err := killed.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = killed.Wait()
			left, err := filepath.Glob(filepath.Join(folder, ".out.csv.*.part"))
			if err != nil || len(left) != 1 {
				t.Fatalf("got %q, %v, want one file that was left", left, err)
			}
			if info, err := os.Stat(left[0]); err != nil || info.Mode() != 0o600 {
				t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
			}
			next := exec.CommandContext(t.Context(), "claimrail", append(command, "--server", "http://127.0.0.1:1")...)
			next.Dir = folder
			if text, err := next.CombinedOutput(); err == nil {
				t.Errorf("got %q, want that there is no server", text)
			}
			if got := namesIn(t, folder); !slices.Equal(got, []string{"claims.csv"}) {
				t.Errorf("got %q, want claims.csv alone", got)
			}
		})
	}
}

// What another process still writes is no leftover, nor is what only looks like one; two may write
// the same file, and each puts the whole there.
func TestPartsOfOthersStay(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "out.csv")
	others := []string{".out.csv..part", ".out.csv.12x.part", ".out.csv.2024", ".other.csv.12.part"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, err := createOut(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer first.drop()
	second, err := createOut(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer second.drop()
	for text, out := range map[string]*outFile{"first": first, "second": second} {
		if _, err := io.WriteString(out.file, text); err != nil {
			t.Fatal(err)
		}
		if err := out.commit(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	if got := strings.Join(namesIn(t, folder), " "); got != strings.Join(append(slices.Sorted(slices.Values(others)), "out.csv"), " ") {
		t.Errorf("got %q, want the others and out.csv", got)
	}
}
