package bulk

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/store"
)

// partWriter keeps a file with an import, compressed, part by part. Close it.
type partWriter struct {
	ctx     context.Context // of the run, or of the upload, that it is part of
	imports store.Imports
	id      uuid.UUID
	run     int // 0 while the import is receiving
	kind    store.PartKind
	next    int    // number of the next part
	held    []byte // of it
	packer  *gzip.Writer
}

// newPartWriter begins a file anew.
func newPartWriter(ctx context.Context, imports store.Imports, id uuid.UUID, run int, kind store.PartKind) (*partWriter, error) {
	w := &partWriter{ctx: ctx, imports: imports, id: id, run: run, kind: kind}
	var err error
	if w.packer, err = gzip.NewWriterLevel(packed{w}, gzip.BestSpeed); err != nil {
		return nil, fmt.Errorf("compress %s of import %s: %w", kind, id, err)
	}
	return w, w.drop(ctx)
}

// drop removes what is kept of the file.
func (w *partWriter) drop(ctx context.Context) error {
	return insist(ctx, func() error { return w.imports.DropParts(ctx, w.id, w.run, w.kind, 0) })
}

// Write implements io.Writer.
func (w *partWriter) Write(text []byte) (int, error) { return w.packer.Write(text) }

// Close keeps what is held still.
func (w *partWriter) Close() error {
	if err := w.packer.Close(); err != nil {
		return err
	}
	return w.flush()
}

// flush keeps the part that is held.
func (w *partWriter) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	if err := insist(w.ctx, func() error { return w.imports.AppendPart(w.ctx, w.id, w.run, w.kind, w.next, w.held) }); err != nil {
		return err
	}
	w.next++
	w.held = w.held[:0]
	return nil
}

// packed takes what is compressed.
type packed struct{ *partWriter }

// Write cuts the text into parts.
func (p packed) Write(text []byte) (int, error) {
	written := 0
	for written < len(text) {
		n := min(len(text)-written, store.MaxPartBytes-len(p.held))
		p.held = append(p.held, text[written:written+n]...)
		written += n
		if len(p.held) == store.MaxPartBytes {
			if err := p.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// partReader gives the parts of a file, one behind the other, as they are kept.
type partReader struct {
	ctx     context.Context // of the request, or of the run, that reads
	imports store.Imports
	id      uuid.UUID
	kind    store.PartKind
	next    int
	held    []byte
}

// Read implements io.Reader.
func (r *partReader) Read(into []byte) (int, error) {
	if len(r.held) == 0 {
		err := insist(r.ctx, func() (err error) {
			r.held, err = r.imports.Part(r.ctx, r.id, r.kind, r.next)
			return err
		})
		if errors.Is(err, store.ErrNotFound) && r.next > 0 {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		r.next++
	}
	n := copy(into, r.held)
	r.held = r.held[n:]
	return n, nil
}

// spooled is a file that was kept with an import, unpacked. An error of it is never the fault of
// who sent the file.
type spooled struct {
	parts    *partReader
	unpacker *gzip.Reader
}

// openParts opens a file of an import, or gives store.ErrNotFound.
func openParts(ctx context.Context, imports store.Imports, id uuid.UUID, kind store.PartKind) (*spooled, error) {
	s := &spooled{parts: &partReader{ctx: ctx, imports: imports, id: id, kind: kind}}
	var err error
	if s.unpacker, err = gzip.NewReader(s.parts); err != nil {
		return nil, fmt.Errorf("read %s of import %s: %w", kind, id, err)
	}
	return s, nil
}

// Read implements io.Reader.
func (s *spooled) Read(into []byte) (int, error) {
	n, err := s.unpacker.Read(into)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read %s of import %s: %w", s.parts.kind, s.parts.id, err)
	}
	return n, err
}

// insistFor is how long something small is tried while the claims database can not be used.
const insistFor = 5 * time.Second

// insist does something again while the claims database can not be used, but not for long.
func insist(ctx context.Context, work func() error) error {
	late := time.Now().Add(insistFor)
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		err := work()
		if err == nil || !IsTransient(err) || ctx.Err() != nil || !time.Now().Add(pause).Before(late) {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
