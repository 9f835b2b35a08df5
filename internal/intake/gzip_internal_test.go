package intake

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

// What comes out of a gzip file may be as long as the limit; of one that is longer
// nothing behind it comes out, and it is refused with what to do, however little it shrank. What came
// out before is as if it had been read.
func TestUnpackedBytesAreBounded(t *testing.T) {
	t.Parallel()
	const last = 1000
	for _, beyond := range []int{0, last} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(bytes.Repeat([]byte("x"), last+beyond))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		source := &meter{source: &packed}
		source.read.Store(MaxUnpackedBytes)
		u := newUnpacker(source, source)
		u.unpacked = MaxUnpackedBytes - last
		text, err := io.ReadAll(u)
		if beyond == 0 {
			if err != nil || len(text) != last {
				t.Errorf("at the limit: got %d bytes, %v, want all %d", len(text), err, last)
			}
			continue
		}
		refused, ok := errors.AsType[*FormatError](err)
		if !ok || refused.Error() != "more than 64 GiB come out of this gzip file: split it" || len(text) > last {
			t.Errorf("%d bytes beyond it: got %d bytes, %v, want it refused", beyond, len(text), err)
		}
	}
}
