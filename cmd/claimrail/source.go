package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxSpoolBytes bounds what is spooled of what can be read only once, such as standard input.
const maxSpoolBytes = 4 << 30

// source is a file to import, and its SHA-256, which names the claims that have no number.
type source struct {
	file   *os.File
	bytes  int64
	sha256 string
}

// openSource opens a file and reads it once for its hash. What can be read only once is
// copied to a temporary file first.
func openSource(ctx context.Context, name string, stdin io.Reader) (source, error) {
	file, err := openAgain(ctx, name, stdin)
	if err != nil {
		return source{}, hint(&fileError{name, bare(err)}, "give the path of a file, or - for standard input")
	}
	hash := sha256.New()
	size, err := io.Copy(hash, stoppable{ctx, file})
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return source{}, errors.Join(explainImport(ctx, name, &fileError{name, bare(err)}), file.Close())
	}
	return source{file, size, hex.EncodeToString(hash.Sum(nil))}, nil
}

func (s source) close() error { return s.file.Close() }

// openAgain opens what can be read more than once.
func openAgain(ctx context.Context, name string, stdin io.Reader) (*os.File, error) {
	if name == stdinName {
		return spool(ctx, stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err == nil && info.Mode().IsRegular():
		return file, nil
	case err == nil && info.IsDir():
		err = errors.New("it is a directory")
	case err == nil: // a pipe
		var spooled *os.File
		spooled, err = spool(ctx, file)
		return spooled, errors.Join(err, file.Close())
	}
	return nil, errors.Join(err, file.Close())
}

// spool copies a stream to a file that has no name any more.
func spool(ctx context.Context, from io.Reader) (*os.File, error) {
	file, err := os.CreateTemp("", "claimrail-import-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	err = os.Remove(file.Name()) // it holds PHI: nobody else may find it
	if err == nil {
		var copied int64
		copied, err = io.Copy(file, io.LimitReader(stoppable{ctx, from}, maxSpoolBytes+1))
		if err == nil && copied > maxSpoolBytes {
			err = fmt.Errorf("it is longer than %d bytes; import it as a file", int64(maxSpoolBytes))
		}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx  context.Context
	from io.Reader
}

// Read implements io.Reader.
func (s stoppable) Read(into []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.from.Read(into)
}

// sameFile tells whether two paths are one file, by whatever names. A file that is not there is
// told by where it would be.
func sameFile(a, b string) bool {
	if here, err := placeOf(a); err == nil {
		if there, err := placeOf(b); err == nil && here == there {
			return true
		}
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other) // a hard link
}

// maxLinks bounds a chain of links.
const maxLinks = 40

// placeOf gives the path behind all links, also of a file that is not there yet.
func placeOf(path string) (string, error) {
	for range maxLinks {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Abs(resolved)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		folder, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(folder, filepath.Base(path))
		target, err := os.Readlink(path) // to what is not there
		if err != nil {
			return filepath.Abs(path)
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(folder, target)
		}
	}
	return "", fmt.Errorf("find %s: more than %d links", path, maxLinks)
}
