package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
	path    string // as it was given
	place   string // behind all links
	replace bool
	file    *os.File // nil where no file is wanted
	lock    *flock.Flock
}

// createOut begins a file. It holds PHI: nobody else may read it. Only with replace it may take the
// place of a file with other content.
func createOut(path string, replace bool) (*outFile, error) {
	if path == "" {
		return &outFile{}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, hint(fmt.Errorf("write %s: it is no file", path), "give the path of a file")
	}
	place, err := placeOf(path)
	if err != nil {
		place = path // and its folder says what is wrong
	}
	removeLeftParts(place)
	for range maxPartTries {
		file, lock, err := beginPart(place)
		if err != nil {
			return nil, hint(fmt.Errorf("write %s: %w", path, bare(err)), "give the path of a file in a directory that exists and can be written")
		}
		if file != nil {
			return &outFile{path, place, replace, file, lock}, nil
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
	if err == nil && !o.replace {
		err = refuseOther(o.file.Name(), o.place)
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.place)
	}
	if err != nil {
		_ = os.Remove(o.file.Name())
		err = fmt.Errorf("write %s: %w", o.path, bare(err))
	}
	_ = o.lock.Unlock()
	o.file = nil
	return err
}

// errOther: what stands in the place may be somebody's work, such as rejects that were corrected.
var errOther = &hintedError{
	err:  errors.New("it is there already, is not what is to be written, and stays as it is"),
	hint: "move it away, or add --force to replace it, and run the same command again",
}

// refuseOther refuses to replace a file by one with other content. The same again, as of a command
// that is run again, loses nothing, nor does a file that is empty.
func refuseOther(written, place string) error {
	one, err := os.Open(written)
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }()
	other, err := os.Open(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	left, right := bufio.NewReader(one), bufio.NewReader(other)
	for empty := true; ; empty = false {
		x, end := left.ReadByte()
		y, otherEnd := right.ReadByte()
		switch {
		case otherEnd == io.EOF && (end == io.EOF || empty):
			return nil
		case end != otherEnd || x != y:
			return errOther
		}
	}
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
