package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A disk is slow because it stands still most of the time: for slowStill, then not until a write has come back
// and for slowGo, and so on.
const (
	slowStill = 90 * time.Millisecond
	slowGo    = 10 * time.Millisecond
	slowFor   = 2 * time.Second
	slowLeast = 10                     // times that it has stood still, with a write that waited
	slowPaced = 15                     // writes that are timed, to tell how slow it was
	stillFor  = 200 * time.Millisecond // as long a write to a disk that stands still has to wait, to be told from others
)

// freeze has every write wait.
func (d *powerDisk) freeze() error { return freezing("-f", d.outer()) }

// thaw lets them go on.
func (d *powerDisk) thaw() error { return freezing("-u", d.outer()) }

func freezing(how, path string) error {
	if output, err := exec.Command("fsfreeze", how, path).CombinedOutput(); err != nil {
		return fmt.Errorf("fsfreeze %s: %w: %s", how, err, output)
	}
	return nil
}

func (d *powerDisk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// writeForced writes a little, and has it forced to the disk.
func writeForced(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.WriteString("a little")
	return errors.Join(err, file.Sync(), file.Close())
}

// forced is a write that somebody waits for.
type forced struct {
	back    chan struct{} // closed when it has come back
	outcome error         // then
}

// write writes to a file that is there only to see how the disk is.
func (d *powerDisk) write() *forced {
	w := &forced{back: make(chan struct{})}
	go func() {
		defer close(w.back)
		w.outcome = writeForced(filepath.Join(d.path, "probe"))
	}()
	return w
}

// waits is the error of a write that has come back.
func (w *forced) waits() error {
	select {
	case <-w.back:
		return fmt.Errorf("a write has come back while the disk stood still: %v", w.outcome)
	default:
		return nil
	}
}

// comesBack is the error of a write that waits, or did not go well.
func (w *forced) comesBack() error {
	if w.waits() == nil {
		return errors.New("a write has not come back")
	}
	return w.outcome
}

// stand is a blow: the disk takes no write, and gives no error either. A write shows it, which comes back only
// when the disk goes on.
func (d *powerDisk) stand(hold time.Duration) blow {
	var probe *forced
	return blow{what: "the disk stands still", hold: hold, kill: func() {
		d.must(d.freeze())
		probe = d.write()
	}, felt: func() error {
		<-time.After(stillFor)
		return probe.waits()
	}, restart: func() {
		if err := probe.waits(); err != nil {
			d.Error(err)
		}
		d.must(d.thaw())
	}, undone: func() error { return probe.comesBack() }}
}

// slow is a blow: the disk takes every write, and takes long for it.
func (d *powerDisk) slow() blow {
	var stop chan struct{}
	var stopped chan error
	var stood *atomic.Int64
	var before time.Duration
	return blow{what: "the disk is slow", hold: slowFor, kill: func() {
		before = d.pace()
		stop, stopped, stood = make(chan struct{}), make(chan error, 1), &atomic.Int64{}
		go func() { stopped <- d.drag(stop, stood) }()
	}, felt: func() error {
		if times := stood.Load(); times < slowLeast {
			return fmt.Errorf("it has stood still %d times with a write that waited, want %d", times, slowLeast)
		}
		return nil
	}, restart: func() {
		during := d.pace()
		close(stop)
		if err := <-stopped; err != nil {
			d.Error(err)
		}
		d.Logf("forced writes took %v, and %v while the disk was slow", before, during)
	}, undone: func() error { return writeForced(filepath.Join(d.path, "probe")) }}
}

// drag has the disk stand still most of the time, until it is told to stop. stood counts how often it did, each
// time with a write that began then and waited until the end.
func (d *powerDisk) drag(stop <-chan struct{}, stood *atomic.Int64) error {
	for {
		if err := d.freeze(); err != nil {
			return err
		}
		probe := d.write()
		<-time.After(slowStill)
		still := probe.waits()
		if err := errors.Join(d.thaw(), still); err != nil {
			return err
		}
		stood.Add(1)
		<-probe.back
		if probe.outcome != nil {
			return probe.outcome
		}
		select {
		case <-stop:
			return nil
		case <-time.After(slowGo):
		}
	}
}

// pace is what a forced write takes on average.
func (d *powerDisk) pace() time.Duration {
	d.Helper()
	begin := time.Now()
	for range slowPaced {
		if err := writeForced(filepath.Join(d.path, "pace")); err != nil {
			d.Error(err)
		}
	}
	return time.Since(begin) / slowPaced
}
