package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// lockFile, in the data directory, is locked by whoever writes there, and says who that is.
const lockFile = "claimrail.lock"

// maxLockText bounds what is read of it, in bytes.
const maxLockText = 512

// lockDataDir makes the data directory where it is missing, and takes it for this process
// alone until unlock. command and url, which may be empty, are for those who find it
// taken. The lock ends with the process, however that ends; what the file says afterwards
// means nothing.
func lockDataDir(dir, command, url string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hint(fmt.Errorf("make data directory %s: %w", dir, bare(err)), "choose another with --data-dir")
	}
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o600))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, hint(fmt.Errorf("lock data directory %s: %w", dir, bare(err)), "choose another with --data-dir")
	}
	if !taken {
		return nil, inUse(dir)
	}
	text := fmt.Sprintf("%d\n%s\n%s\n", os.Getpid(), command, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, bare(err)), lock.Unlock())
	}
	return lock.Unlock, nil
}

// inUse says who has the data directory.
func inUse(dir string) error {
	pid, command, url := holder(dir)
	who := "another process"
	if command != "" {
		who = "'claimrail " + command + "' (pid " + pid
		if url != "" {
			who += ", " + url
		}
		who += ")"
	}
	err := fmt.Errorf("data directory %s is in use by %s", dir, who)
	if url != "" {
		return hint(err, "add --server %s, or stop that process", url)
	}
	return hint(err, "wait until it is done, or stop it")
}

// holder reads who has the lock; empty words where that can not be told.
func holder(dir string) (pid, command, url string) {
	text, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil || len(text) > maxLockText {
		return "", "", ""
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 3 {
		return "", "", ""
	}
	return lines[0], lines[1], lines[2]
}

// spareData refuses to write a file, which a flag names, where the data is.
func (c *config) spareData(flag, path string) error {
	if path == "" {
		return nil
	}
	place, err := placeOf(path)
	if err != nil {
		return nil // writing it says so
	}
	data, err := placeOf(c.DataDir)
	if err != nil {
		return nil
	}
	name, inside := strings.CutPrefix(place, data+string(filepath.Separator))
	ours := inside && (name == lockFile || strings.HasPrefix(name, claimsFile) || strings.HasPrefix(name, paymentsFile) ||
		strings.HasPrefix(name, natsDir+string(filepath.Separator)))
	if ours || sameFile(path, filepath.Join(data, claimsFile)) || sameFile(path, filepath.Join(data, paymentsFile)) {
		return misuse(fmt.Errorf("%s %s: it is a file of the data directory", flag, path), "give it another name")
	}
	return nil
}

// bare takes the path off an error of the file system; the caller names it.
func bare(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
