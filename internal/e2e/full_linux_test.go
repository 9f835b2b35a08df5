package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// filler is the file that takes what room there is.
const filler = "filler"

// newSmallDisk mounts a file system of so many bytes ("64m") at a folder of the data
// directory, or at the whole. Where nobody may mount, the test is lacking.
func (s *system) newSmallDisk(folder, size string) (path string) {
	s.Helper()
	path = filepath.Join(s.dir, folder)
	if err := os.MkdirAll(path, 0o700); err != nil {
		s.Fatal(err)
	}
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		lacking(s, os.Getenv("CI"), "a disk can not be filled here: mounting one is not permitted")
	}
	if err != nil {
		s.Fatalf("mount a file system of %s: %v", size, err)
	}
	s.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			s.Errorf("unmount %s: %v", path, err)
		}
	})
	return path
}

// lacking ends a test that this machine does not let run: it is skipped, but where CI is set it fails,
// for there nobody would see that it never runs.
func lacking(t testing.TB, ci, what string) {
	t.Helper()
	if ci != "" {
		t.Fatalf("%s; run it as root, in a container with CAP_SYS_ADMIN", what)
	}
	t.Skip(what)
}

// fill leaves no room at all on the disk.
func (s *system) fill(disk string) {
	s.Helper()
	file, err := os.Create(filepath.Join(disk, filler))
	if err != nil {
		s.Fatal(err)
	}
	if _, err := io.Copy(file, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		s.Errorf("fill the disk: got %v, want %v", err, syscall.ENOSPC)
	}
	if err := file.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		s.Error(err)
	}
}

// free undoes fill.
func (s *system) free(disk string) {
	s.Helper()
	if err := os.Remove(filepath.Join(disk, filler)); err != nil {
		s.Fatal(err)
	}
}

// zeros reads as zeros, without an end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

// On a full disk requests get 503 and a time to come again, nothing acknowledged is lost,
// and when there is room again the same process goes on by itself.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s := newSystem(t)
	disk := s.newSmallDisk(".", "96m")
	s.start()
	process := s.server
	l := newLoad(s, random)
	l.flow(100 + random.Int64N(maxFlow))
	s.fill(disk)
	s.until("every client is told to come again", startTimeout, func() bool { return l.denied.Load() >= clients })
	s.free(disk)
	l.flow(200)
	l.end()
	s.settled()
	if s.server != process {
		t.Error("the server is another")
	}
	report := s.finish(l.history)
	claims, acknowledged, sent := l.history.Figures()
	if claims != acknowledged || report.Settled != claims {
		t.Errorf("got %d claims sent, %d acknowledged, %d settled, want all of them", claims, acknowledged, report.Settled)
	}
	t.Logf("%d claims in %d requests: %d acknowledged, %d answered with 503", claims, sent, l.acknowledged.Load(), l.denied.Load())
}

// A file that is sent while the disk is full is answered with 503 and a time to come again, and
// leaves nothing behind; one that is being imported when the disk fills goes on when there is
// room again. In the end each has the counts of a quiet day, in the same process.
func TestImportDiskFull(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s, h := newSystem(t), newHistory()
	file := s.newImportFile(h, random, "march")
	disk := s.newSmallDisk(".", "96m")
	s.start()
	process := s.server
	s.awaitImport(s.upload(file.known(), http.StatusAccepted))
	s.fill(disk)
	if id := s.upload(file.path, http.StatusServiceUnavailable); id != "" {
		t.Errorf("on a full disk: got import %s, want none", id)
	}
	s.free(disk)
	id := s.upload(file.path, http.StatusAccepted)
	s.until("some of it is accepted", importTimeout, func() bool {
		i := s.importState(id)
		return i.Claims.Accepted > 0 || i.State == "done"
	})
	s.fill(disk)
	// SQLite's log may have room yet that is to be used again: too little for a batch, and for many claims of one line.
	var probe form
	probes := int64(0)
	s.until("single claims are refused", startTimeout, func() bool {
		probe = newForm(claim.ExternalKey, fmt.Sprint("probe ", probes), slices.Repeat([]money.Cents{100}, 900)...)
		_, v := s.attempt(h, probe)
		probes++
		return v != acknowledged
	})
	interrupted := s.importState(id).State != "done"
	s.free(disk)
	if got := s.awaitImport(id); got.State != "done" || got.Claims != file.want {
		t.Errorf("after a full disk: got %s %s, %+v, want %+v", got.State, got.Error, got.Claims, file.want)
	}
	for _, i := range s.imports() {
		if i.State != "done" && i.State != "cancelled" {
			t.Errorf("import %s: got it %s, want all ended", i.ID, i.State)
		}
	}
	s.accept(h, probe)
	if s.server != process {
		t.Error("the server is another")
	}
	if report := s.finish(h); int64(report.Settled) != file.want.Accepted+file.want.Duplicate+probes {
		t.Errorf("got %d claims settled, want %d", report.Settled, file.want.Accepted+file.want.Duplicate+probes)
	}
	t.Logf("interrupted: %t; %+v; %d single claims", interrupted, file.want, probes)
}

// A broker that can not write its files any more costs no claim: they go in and are marked
// "failed to notify payments", the server says that it is not ready, and when there is room
// again it sends them, each is paid once, and nobody has to start it again.
func TestBrokerDiskFull(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s := newSystem(t)
	disk := s.newSmallDisk(natsFolder, "16m")
	s.start()
	h := newHistory()
	s.acceptMany(h, random, "before", 20)
	s.settled()
	s.fill(disk)
	ids := s.acceptMany(h, random, "while it is full", 100)
	s.until("claims are marked as failed, and the server as not ready", startTimeout, func() bool {
		ready := s.get("/readyz")
		return len(s.list("payment_state=failed_to_notify_payments")) > 0 && ready.status == http.StatusServiceUnavailable &&
			strings.Contains(string(ready.body), `"broker":"unavailable"`)
	})
	for _, c := range s.list("payment_state=failed_to_notify_payments") {
		if c = s.show(c.ClaimID); c.Status != "in_flight" || c.Payment.Attempts < 1 || c.Payment.Error == "" || c.Payment.Next.IsZero() {
			t.Errorf("got %+v, want attempts, an error and the next attempt", c)
		}
	}
	ids = append(ids, s.acceptMany(h, random, "later", 20)...)
	s.free(disk)
	if report := s.finish(h); report.Settled != 20+len(ids) {
		t.Errorf("got %d claims settled, want %d", report.Settled, 20+len(ids))
	}
}
