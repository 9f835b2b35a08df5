package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// Sizes of the images of a powerDisk. They are sparse.
const (
	outerSize = "3g"
	innerSize = "2g"
)

// commandTimeout bounds one command of the system, on a busy machine.
const commandTimeout = time.Minute

// command runs a command of the system, which has to work.
func command(t testing.TB, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	if output, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, output)
	}
}

// powerDisk is a file system whose power can be cut: in an image that is a file of another
// file system. To freeze the outer one stops every write to the image at one instant, as a disk
// stops; what the inner one still had in memory is not in it, and nothing tells the inner
// one to write that. A copy of the image is what the next start finds. This is a disk
// that keeps what it was given: that it has a cache of its own and loses that is not tried.
type powerDisk struct {
	testing.TB
	folder string // of both images
	path   string // where it is mounted
}

// newPowerDisk makes the file system and mounts it at the path, which is an empty folder. It
// ends with the test.
func newPowerDisk(t testing.TB, path string) *powerDisk {
	t.Helper()
	d := &powerDisk{TB: t, folder: t.TempDir(), path: path}
	if err := os.Mkdir(d.outer(), 0o700); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(d.folder, "outer.img")
	command(t, "truncate", "-s", outerSize, image)
	command(t, "mkfs.ext4", "-q", "-F", image)
	command(t, "mount", "-o", "loop,noatime", image, d.outer())
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", d.outer()).Run() // after a failure it may be frozen
		command(t, "umount", "-l", d.outer())
	})
	command(t, "truncate", "-s", innerSize, d.inner())
	command(t, "mkfs.ext4", "-q", "-F", d.inner())
	d.mount()
	t.Cleanup(func() { command(t, "umount", "-l", d.path) })
	return d
}

func (d *powerDisk) outer() string { return filepath.Join(d.folder, "outer") }

func (d *powerDisk) inner() string { return filepath.Join(d.outer(), "inner.img") }

func (d *powerDisk) mount() {
	d.Helper()
	command(d, "mount", "-o", "loop", d.inner(), d.path)
	if err := os.Chmod(d.path, 0o755); err != nil {
		d.Fatal(err)
	}
}

// cut cuts the power. kill ends all processes that use the disk: they have outlived it, and
// whatever they did since then is gone, which a file shows that is written after it. On return the
// disk is as it was at that instant, and mounted again.
func (d *powerDisk) cut(kill func()) {
	d.Helper()
	left := filepath.Join(d.folder, "left.img")
	d.must(d.freeze())
	command(d, "cp", "--sparse=always", d.inner(), left)
	d.must(d.thaw())
	kill()
	late := filepath.Join(d.path, "late")
	if err := writeForced(late); err != nil {
		d.Error(err)
	}
	command(d, "umount", d.path)
	command(d, "cp", "--sparse=always", left, d.inner())
	d.mount()
	if _, err := os.Stat(late); !errors.Is(err, fs.ErrNotExist) {
		d.Errorf("what was written after the power was cut: got %v, want it gone", err)
	}
}

// Claims that are acknowledged between two cuts of the power, at most.
const maxPowerFlow = 2_000

// The power is cut while the embedded server writes claims, payments and messages; what was
// acknowledged before is there when it starts again, and is paid once.
func (t *torture) cutPower() {
	s := newSystem(t.T)
	l := t.loadOnPowerDisk(s)
	l.end()
	report := s.finish(l.history)
	if _, confirmed, _ := l.history.Figures(); report.Settled < confirmed {
		t.Errorf("got %d claims settled, want the %d that were acknowledged, at least", report.Settled, confirmed)
	}
	t.Logf("%d requests acknowledged, %d unknown, %d sent again", l.acknowledged.Load(), l.unknown.Load(), l.resent.Load())
}

// loadOnPowerDisk starts the system on a disk, puts it under load, and cuts the power again and
// again. It comes back with everything running.
func (t *torture) loadOnPowerDisk(s *system) *load {
	t.Helper()
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disk := newPowerDisk(t, s.dir)
	s.start()
	l := newLoad(s, t.random)
	t.row.history = l.history
	for range size(t.T, cutsVariable, shortCuts) {
		l.flow(100 + t.random.Int64N(maxPowerFlow))
		l.history.Seal()
		s.wantKilled(func() { disk.cut(s.kill) })
		l.history.Unseal()
		t.row.faults++
		l.restart()
	}
	l.flow(clients)
	return l
}

// The same is done to the program with one word changed, SQLite's synchronous from FULL to
// NORMAL: acknowledged claims must be missing, or the rig would not show a loss. Payments go missing
// as well, and a claim whose message was answered then waits for ever; so nothing waits
// for it, and claims alone are counted.
func (t *torture) cutPowerOfControl() {
	s := newSystem(t.T)
	s.program = buildNormal(t)
	l := t.loadOnPowerDisk(s)
	l.end()
	if code, _ := s.stop(); code != 0 {
		t.Errorf("stop the server: got exit code %d", code)
	}
	claims, _, leave := openDatabases(t, s.dir)
	defer leave()
	stored, err := readClaims(t.Context(), claims)
	if err != nil {
		t.Fatal(err)
	}
	paid := make([]receipt, len(stored))
	for i, c := range stored {
		paid[i] = c.Receipt
	}
	l.history.Check(stored, paid)
	t.Logf("synchronous=NORMAL: %d acknowledged claims lost by %d cuts, as they should be", l.history.Found()[lost], t.row.faults)
}

// buildNormal builds the program with SQLite at synchronous=NORMAL.
func buildNormal(t testing.TB) (path string) {
	t.Helper()
	folder := t.TempDir()
	var replaced []string
	for file, change := range map[string][2]string{
		"sqlitefile.go": {`settings.Set("_synchronous", "FULL")`, `settings.Set("_synchronous", "NORMAL")`},
		"schema.go":     {"const synchronousFull = 2", "const synchronousFull = 1"},
	} {
		source, err := filepath.Abs(filepath.Join("..", "sqlitefile", file))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(source)
		if err != nil || strings.Count(string(text), change[0]) != 1 {
			t.Fatalf("%s: got %v, and %q %d times, want it once", file, err, change[0], strings.Count(string(text), change[0]))
		}
		changed := filepath.Join(folder, file)
		if err := os.WriteFile(changed, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		replaced = append(replaced, fmt.Sprintf("%q: %q", source, changed))
	}
	overlay := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(overlay, []byte(`{"Replace": {`+strings.Join(replaced, ", ")+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(folder, "claimrail")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", path, "github.com/claimrail/claimrail/cmd/claimrail")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the control: %v: %s", err, output)
	}
	return path
}

// powerClaims is how many claims are sent for each cut of the power of a fleet.
const powerClaims = 4_000

// The power is cut for a whole fleet at once, Postgres and three NATS servers included, which
// write to their files when they see fit, as is their default.
func (t *torture) cutPowerOfFleet() {
	cuts := size(t.T, cutsVariable, shortCuts)
	f, disk := t.fleetOnPowerDisk()
	c := newCrowd(f, t.random, powerClaims*(cuts+1))
	t.row.history = c.history
	var blows []blow
	for range cuts {
		blows = append(blows, deadly(blow{what: "the power", kill: func() {
			c.history.Seal()
			disk.cut(f.killAll)
			c.history.Unseal()
			t.row.faults++
		}, restart: f.startAll}, f.pids))
	}
	c.endure(blows)
	f.nats.whole()
	report := f.finish(c.history)
	claims, confirmed, _ := c.history.Figures()
	if report.Settled < confirmed {
		t.Errorf("got %d claims settled, want the %d that were acknowledged, at least", report.Settled, confirmed)
	}
	t.Logf("%d claims, %d acknowledged, %d settled", claims, confirmed, report.Settled)
}

// fleetOnPowerDisk starts a fleet with Postgres and NATS on a disk of its own.
func (t *torture) fleetOnPowerDisk() (f *fleet, disk *powerDisk) {
	t.Helper()
	mounted := t.shortFolder()
	database, messages := filepath.Join(mounted, "p"), filepath.Join(mounted, "n")
	disk = newPowerDisk(t, mounted)
	for _, path := range []string{database, messages} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f = &fleet{T: t.T, postgres: pgtest.StartOwnIn(t, database), nats: newCluster(t.T, messages)}
	f.populate(manyEach)
	command(t, "sync", "-f", mounted) // the cluster was made without; nobody cuts the power in an installation
	return f, disk
}

// shortFolder makes a folder with a path that has room for that of a socket, and that
// Postgres, which runs as somebody else, can reach. It ends with the test.
func (t *torture) shortFolder() (path string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "claimrail-torture-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	path = filepath.Join(folder, "m")
	if err := errors.Join(os.Chmod(folder, 0o755), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// pids gives the numbers of all processes of the fleet.
func (f *fleet) pids() []int {
	all := f.postgres.Processes()
	for _, i := range f.all() {
		all = append(all, i.pid())
	}
	for node := range natsNodes {
		all = append(all, f.nats.pid(node))
	}
	return all
}

// killAll ends all processes of the fleet.
func (f *fleet) killAll() {
	f.Helper()
	for _, i := range f.all() {
		i.system.kill()
	}
	for node := range natsNodes {
		f.nats.kill(node)
	}
	f.postgres.Stop(f)
}

// startAll starts them again.
func (f *fleet) startAll() {
	f.Helper()
	f.postgres.Start(f)
	for node := range natsNodes {
		f.nats.start(node)
	}
	for _, i := range f.all() {
		i.start()
	}
}
