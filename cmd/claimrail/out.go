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

// partSuffix ends the name of a file that is being written: .NAME.DIGITS.part, beside its place.
const partSuffix = ".part"

// maxPartTries bounds how often a file is begun; another process may take one for a leftover in the
// moment in front of its lock.
const maxPartTries = 10

// outFile is a file that is written beside its place, and put there when it is whole. While it is
// written it is locked: one that is not was left by a process that is gone, and goes with the next
// that writes to the same place.
type outFile struct {
	path string
	file *os.File // nil where no file is wanted
	lock *flock.Flock
}

// createOut begins a file. It holds PHI: nobody else may read it.
func createOut(path string) (*outFile, error) {
	if path == "" {
		return &outFile{}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, hint(fmt.Errorf("write %s: it is no file", path), "give the path of a file")
	}
	place := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		place = resolved
	}
	removeLeftParts(place)
	for range maxPartTries {
		file, lock, err := beginPart(place)
		if err != nil {
			return nil, hint(fmt.Errorf("write %s: %w", path, bare(err)), "give the path of a file in a directory that exists and can be written")
		}
		if file != nil {
			return &outFile{place, file, lock}, nil
		}
	}
	return nil, fmt.Errorf("write %s: what was begun of it beside it is removed again and again", path)
}

// beginPart makes a file, of mode 0600, and locks it; nil where another process removed it before.
func beginPart(place string) (*os.File, *flock.Flock, error) {
	file, err := os.CreateTemp(filepath.Dir(place), partPattern(place))
	if err != nil {
		return nil, nil, err
	}
	// Where files can not be locked, nobody finds it without a lock either.
	lock := newPartLock(file.Name())
	taken, err := lock.TryLock()
	if err == nil && !taken || errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.Join(lock.Unlock(), file.Close())
	}
	if _, err := os.Lstat(file.Name()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.Join(lock.Unlock(), file.Close())
	}
	return file, lock, nil
}

// partPattern names the parts of a place, with a star for what is random.
func partPattern(place string) string { return "." + filepath.Base(place) + ".*" + partSuffix }

// newPartLock gives the lock of a part that is there.
func newPartLock(name string) *flock.Flock { return flock.New(name, flock.SetFlag(os.O_RDWR)) }

// removeLeftParts removes what processes that are gone left of files for this place, as far as it can
// be: it may hold PHI.
func removeLeftParts(place string) {
	folder := filepath.Dir(place)
	found, err := os.ReadDir(folder)
	if err != nil {
		return // creating the file says so
	}
	before, _, _ := strings.Cut(partPattern(place), "*")
	for _, entry := range found {
		digits, ours := strings.CutPrefix(entry.Name(), before)
		digits, part := strings.CutSuffix(digits, partSuffix)
		if !ours || !part || !entry.Type().IsRegular() || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		name := filepath.Join(folder, entry.Name())
		lock := newPartLock(name)
		if taken, err := lock.TryLock(); err == nil && taken {
			_ = os.Remove(name)
		}
		_ = lock.Unlock()
	}
}

// commit puts the file in its place.
func (o *outFile) commit() error {
	if o.file == nil {
		return nil
	}
	err := errors.Join(o.file.Sync(), o.file.Close())
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		_ = os.Remove(o.file.Name())
		err = fmt.Errorf("write %s: %w", o.path, bare(err))
	}
	_ = o.lock.Unlock()
	o.file = nil
	return err
}

// drop throws away what is not in its place.
func (o *outFile) drop() {
	if o.file != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
		_ = o.lock.Unlock()
		o.file = nil
	}
}
