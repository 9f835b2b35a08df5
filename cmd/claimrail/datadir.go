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

// holder is who has a data directory, as the lock file says; what can not be told is empty.
type holder struct {
	pid     string
	command string
	url     string // of a server
	// instance names this run of a server that stores its claims in the data directory: it says the
	// same of itself, see instanceHeader. Empty of all others.
	instance string
}

// lockDataDir makes the data directory where it is missing, and takes it for this process
// alone until unlock. by, whose pid is that of this process, is for those who find it
// taken. The lock ends with the process, however that ends; what the file says afterwards
// means nothing.
func lockDataDir(dir string, by holder) (unlock func() error, err error) {
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
		return nil, inUse(dir, readHolder(dir))
	}
	text := fmt.Sprintf("%d\n%s\n%s\n%s\n", os.Getpid(), by.command, by.url, by.instance)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, bare(err)), lock.Unlock())
	}
	return lock.Unlock, nil
}

// inUseError says that another process has the data directory.
type inUseError struct {
	dir string
	by  holder
}

func (e *inUseError) Error() string {
	who := "another process"
	if e.by.command != "" {
		who = "'claimrail " + e.by.command + "' (pid " + e.by.pid
		if e.by.url != "" {
			who += ", " + e.by.url
		}
		who += ")"
	}
	return fmt.Sprintf("data directory %s is in use by %s", e.dir, who)
}

// inUse says who has the data directory, and what to do about it.
func inUse(dir string, by holder) error {
	err := &inUseError{dir, by}
	if by.url != "" {
		return hint(err, "add --server %s, or stop that process", by.url)
	}
	return hint(err, "wait until it is done, or stop it")
}

// readHolder reads who has the lock.
func readHolder(dir string) holder {
	text, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil || len(text) > maxLockText {
		return holder{}
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 3 {
		return holder{}
	}
	by := holder{pid: lines[0], command: lines[1], url: lines[2]}
	if len(lines) > 4 {
		by.instance = lines[3]
	}
	return by
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
