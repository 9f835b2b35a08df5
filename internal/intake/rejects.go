package intake

import (
	"io"
	"strconv"
	"strings"

	"github.com/claimrail/claimrail/internal/claim"
)

// CodeClaimRejected marks the rows that are rejected for another row of their claim.
const CodeClaimRejected = "claim-rejected"

// The names under which a file of rejects says what is wrong: columns of CSV, members of
// JSON. Who reads such a file, once it is repaired, passes over them.
const (
	ErrorFieldName   = "error_field"
	ErrorCodeName    = "error_code"
	ErrorMessageName = "error_message"
)

// errorNames are the three, in the order in which they are written.
var errorNames = [...]string{ErrorFieldName, ErrorCodeName, ErrorMessageName}

// maxErrorsTold is how many errors of one row are told in its cells, or its members.
const maxErrorsTold = 10

// Rejects writes what was rejected in the form in which it came, with the reasons where the
// form has room for them, so that it can be repaired and sent again. It belongs to one goroutine.
type Rejects struct {
	to  rejecter
	csv *csvRejects // to, where it is of CSV
}

// rejecter writes the rejects of one format.
type rejecter interface {
	Add(*Parcel, []Fault) error
	Close() error
}

// Rejects makes the writer of what was rejected of this file. Nothing is written before there
// is something to be written.
func (f *File) Rejects(w io.Writer) *Rejects {
	switch {
	case f.csv != nil:
		r := newCSVRejects(w, f.csv)
		return &Rejects{to: r, csv: r}
	case f.json != nil:
		return &Rejects{to: newJSONRejects(w, f.json)}
	default:
		return &Rejects{to: f.x12.Rejects(w)}
	}
}

// Add takes a parcel that was rejected, with its faults as File.Faults gave them, in the order
// of Next. Errors are those of the writer, wrapped.
func (r *Rejects) Add(parcel *Parcel, faults []Fault) error { return r.to.Add(parcel, faults) }

// Advance takes a parcel that was not rejected, in the order of Next, so that rows of CSV that
// wait for it can be written. Errors are those of the writer, wrapped.
func (r *Rejects) Advance(parcel *Parcel) error {
	if r.csv == nil {
		return nil
	}
	return r.csv.Advance(parcel)
}

// Close writes what waits still. It does not close the writer.
func (r *Rejects) Close() error { return r.to.Close() }

// errorTexts says what is wrong, under the three names. Warnings are no reason.
func errorTexts(faults []Fault, place func(*Fault) string) [len(errorNames)]string {
	var fields, codes, messages []string
	more := 0
	for i := range faults {
		fault := &faults[i]
		switch {
		case fault.Severity != claim.Error:
		case len(codes) == maxErrorsTold:
			more++
		default:
			fields, codes, messages = append(fields, place(fault)), append(codes, fault.Code), append(messages, fault.Message)
		}
	}
	if more > 0 {
		messages = append(messages, "and "+strconv.Itoa(more)+" more")
	}
	told := [...]string{strings.Join(fields, "; "), strings.Join(codes, "; "), strings.Join(messages, "; ")}
	for i := range told {
		told[i] = Guard(told[i])
	}
	return told
}
