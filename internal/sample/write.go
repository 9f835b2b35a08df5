package sample

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
)

// flushBytes is when what was made is written out. One claim more may wait.
const flushBytes = 64 << 10

// Tally counts what was written.
type Tally struct {
	Claims, Lines int
	Bad           [badKinds + 1]int // claims, by Bad; of Good: those with nothing wrong
}

// write writes all claims of a sample, each as appendClaim appends it, behind a
// head and in front of what appendTail appends, which may be nil.
func (s *Sample) write(
	ctx context.Context, w io.Writer, head []byte,
	appendClaim func([]byte, *Claim) []byte, appendTail func([]byte) []byte,
) (Tally, error) {
	var tally Tally
	buffer := append(make([]byte, 0, 2*flushBytes), head...)
	flush := func() error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write a sample: %w", err)
		}
		if _, err := w.Write(buffer); err != nil {
			return fmt.Errorf("write a sample: %w", err)
		}
		buffer = buffer[:0]
		return nil
	}
	for c := range s.Claims() {
		buffer = appendClaim(buffer, c)
		tally.Claims++
		tally.Lines += len(c.Lines)
		tally.Bad[c.Bad]++
		if len(buffer) >= flushBytes {
			if err := flush(); err != nil {
				return tally, err
			}
		}
	}
	if appendTail != nil {
		buffer = appendTail(buffer)
	}
	return tally, flush()
}

// civil gives the parts of a date.
func civil(date claim.ServiceDate) (year, month, day uint64) {
	y, m, d := time.Unix(date.Unix(), 0).UTC().Date()
	return uint64(y), uint64(m), uint64(d)
}
