package e2e_test

import (
	"errors"
	"fmt"
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
	control bool // it breaks the promise on purpose: claims have to be lost
	faults  int  // injected
	history *history
	took    time.Duration
	failed  bool
}

// held is the error of a rig that ended without its history held against what is stored: no figure of it
// means anything. What was found then has to be nothing, or a loss where the rig is the control.
func (r *row) held() error {
	claims, _, _ := r.history.Figures()
	found := r.history.Found()
	wrong := found[duplicated] + found[wrongAmount] + found[unexpected]
	switch {
	case claims == 0:
		return errors.New("no claim was sent: the rig shows nothing")
	case found == nil:
		return errors.New("the history was not held against what is stored and paid in the end: the rig shows nothing")
	case r.control && found[lost] == 0:
		return errors.New("got no acknowledged claim lost by the control, want some: the rig shows no loss")
	case !r.control && found[lost] > 0, wrong > 0:
		return fmt.Errorf("found %v, want none", found)
	}
	return nil
}
