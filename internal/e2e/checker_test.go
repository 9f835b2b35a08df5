package e2e_test

import (
	"time"

	"github.com/claimrail/claimrail/internal/checker"
)

// What package checker says, in the words of a form.
type (
	verdict     = checker.Verdict
	receipt     = checker.Receipt
	storedClaim = checker.Stored
)

// Verdicts, and kinds of finding.
const (
	unknown      = checker.Unknown
	acknowledged = checker.Acknowledged
	refused      = checker.Refused
	lost         = checker.Lost
	duplicated   = checker.Duplicated
	unexpected   = checker.Unexpected
	wrongAmount  = checker.WrongAmount
)

// history is a checker.History of forms.
type history struct{ *checker.History }

func newHistory() *history { return &history{checker.NewHistory()} }

func (h *history) attempt(f form) (era int) { return h.Attempt(f.key, f.netFee) }

func (h *history) conclude(era int, f form, v verdict, told receipt) {
	h.Conclude(era, f.key, f.netFee, v, told)
}

// count notes what a file's import counted as accepted, or as known before.
func (h *history) count(file importFile) {
	for _, key := range file.good {
		h.Count(key)
	}
}

func (h *history) writeOff(f form) { h.WriteOff(f.key) }

// row is what a rig did, and what became of the claims.
type row struct {
	name    string
	faults  int // injected
	history *history
	took    time.Duration
	failed  bool
}
