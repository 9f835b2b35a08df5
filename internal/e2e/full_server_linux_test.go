package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// Sizes of the disks that are filled: some times what their servers start with.
const (
	fullPostgres = "size=256m"
	fullNATS     = "size=192m"
)

// standUp bounds how long a server with room again is given to go on by itself.
const standUp = 10 * time.Second

// The disk of Postgres is full, and then that of the NATS servers, under load. While NATS has no
// room claims are taken; when there is room again, and an operator has started what had
// ended, each is paid once.
func (t *torture) fill() {
	database, messages := t.smallDisk(fullPostgres), t.smallDisk(fullNATS)
	f := &fleet{T: t.T, postgres: pgtest.StartOwnIn(t, database), nats: newCluster(t.T, messages)}
	f.populate(manyEach)
	front := f.claims[0].system
	full := func(what, disk string, goOn func()) blow {
		return blow{what: what, kill: func() { front.fill(disk) }, felt: func() error {
			if err := writeRoom(disk); !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("a write to it: got %v, want %w", err, syscall.ENOSPC)
			}
			return nil
		}, restart: func() {
			front.free(disk)
			goOn()
		}, undone: func() error { return writeRoom(disk) }}
	}
	some := []blow{
		full("the disk of Postgres is full", database, func() { t.Logf("Postgres goes on by itself: %t", f.revive()) }),
		full("the disk of NATS is full", messages, func() {
			for node := range natsNodes { // they have turned JetStream off
				f.nats.kill(node)
				f.nats.start(node)
			}
		}),
	}
	some[1].standing = true
	t.endure(f, 3*faultClaims, some)
}

// writeRoom writes what a full disk has no room for, and takes it away again.
func writeRoom(disk string) error {
	path := filepath.Join(disk, "room")
	defer func() { _ = os.Remove(path) }()
	return os.WriteFile(path, make([]byte, 1<<20), 0o600)
}

// smallDisk mounts a file system in memory. It ends with the test.
func (t *torture) smallDisk(size string) (path string) {
	t.Helper()
	path = t.shortFolder()
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, size+",mode=0755"); err != nil {
		t.Fatalf("mount a file system of %s: %v", size, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", path, err)
		}
	})
	return path
}

// revive starts Postgres again, unless it goes on by itself.
func (f *fleet) revive() (byItself bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), standUp)
	defer cancel()
	for ctx.Err() == nil {
		if conn, err := pgx.Connect(ctx, f.owner); err == nil {
			_ = conn.Close(ctx)
			return true
		}
		<-time.After(pollEvery)
	}
	f.postgres.Stop(f)
	f.postgres.Start(f)
	return false
}
