package pgfile

import (
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A connection that is lost while the server reads the texts of the last statements has committed nothing, for
// COMMIT goes out behind its answer; one that is lost later may have.
func TestLostBeforeCommit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want error
	}{
		"while texts are read": {errors.Join(pgx.ErrPreprocessingBatch{}, io.ErrUnexpectedEOF), ErrUnavailable},
		"later":                {io.ErrUnexpectedEOF, ErrUnknownOutcome},
	} {
		got := classifyCommit(tt.err)
		for _, kind := range []error{ErrUnavailable, ErrUnknownOutcome} {
			if errors.Is(got, kind) != (kind == tt.want) {
				t.Errorf("%s: got %v, is %v: %t", name, got, kind, errors.Is(got, kind))
			}
		}
	}
}
