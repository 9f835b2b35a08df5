package intake

import (
	"fmt"
	"io"
)

// maxEmptyReads is how often in a row a source may give nothing and no error.
const maxEmptyReads = 100

// ahead reads a source ahead of who cuts it up, in constant memory.
type ahead struct {
	source     io.Reader
	buffer     []byte
	begin, end int // of what is read and not yet given, in the buffer
	ended      bool
}

func newAhead(source io.Reader, bytes int) ahead {
	return ahead{source: source, buffer: make([]byte, bytes)}
}

// read reads on until so many bytes are in the buffer, or the input ends. format is for errors.
func (a *ahead) read(format string, enough int) error {
	for empty := 0; a.end-a.begin < enough && !a.ended; {
		if len(a.buffer)-a.begin < enough {
			a.end = copy(a.buffer, a.buffer[a.begin:a.end])
			a.begin = 0
		}
		n, err := a.source.Read(a.buffer[a.end:])
		a.end += n
		switch {
		case err == io.EOF:
			a.ended = true
		case err != nil:
			return fmt.Errorf("read %s: %w", format, err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty == maxEmptyReads {
				return fmt.Errorf("read %s: %w", format, io.ErrNoProgress)
			}
		}
	}
	return nil
}
