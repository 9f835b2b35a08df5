package intake

import (
	"compress/gzip"
	"errors"
	"io"
)

// Limits of a file that is packed.
const (
	// MaxUnpackedBytes is how much may come out of one file.
	MaxUnpackedBytes = 64 << 30
	// MaxUnpackRatio is how many times as long as the file what comes out of it may be, once
	// it is longer than UnpackFreeBytes: claims shrink ten- to thirtyfold, bombs thousandfold.
	MaxUnpackRatio = 250
	// UnpackFreeBytes is how much may come out at any ratio: a short file of equal rows
	// shrinks as a bomb does.
	UnpackFreeBytes = 64 << 20
)

// unpacker gives what is in a gzip file, of one member or of several. Its errors are
// *FormatError, and those of the source as they are.
type unpacker struct {
	source   *meter
	packed   io.Reader    // the source, from its first byte
	archive  *gzip.Reader // nil before the first Read
	unpacked int64
}

func newUnpacker(source *meter, packed io.Reader) *unpacker {
	return &unpacker{source: source, packed: packed}
}

// Read unpacks on.
func (u *unpacker) Read(into []byte) (n int, err error) {
	if u.archive == nil {
		u.archive, err = gzip.NewReader(u.packed)
	}
	if err == nil {
		n, err = u.archive.Read(into)
	}
	u.unpacked += int64(n)
	switch {
	case err == io.EOF:
		return n, io.EOF
	case err != nil && u.source.err != nil:
		return n, u.source.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, &FormatError{Gzip, "the gzip file ends too early: send it whole"}
	case errors.Is(err, gzip.ErrHeader) && u.unpacked > 0:
		return n, &FormatError{Gzip, "there is something else behind the gzip data: pack the file anew"}
	case err != nil:
		return n, &FormatError{Gzip, "the gzip file is damaged: pack it anew, or send it again"}
	case u.unpacked > MaxUnpackedBytes:
		return 0, &FormatError{Gzip, "more than 64 GiB come out of this gzip file: split it"}
	case u.unpacked > UnpackFreeBytes && u.unpacked/MaxUnpackRatio > u.source.read.Load():
		return 0, &FormatError{Gzip, "this gzip file unpacks to more than 250 times its length: send it unpacked"}
	default:
		return n, nil
	}
}
