package bulk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// Fault is one thing that is wrong with a file, in JSON. No PHI: Found is a form, not a value.
type Fault struct {
	Row     int    `json:"row,omitempty" doc:"from 1 behind the header; left out for the header, and for X12"`
	Segment int    `json:"segment,omitempty" doc:"of X12: from 1 in the file"`
	Line    int    `json:"line" doc:"of the file, from 1" example:"17"`
	Field   string `json:"field,omitempty" example:"provider_npi"`
	Column  string `json:"column,omitempty" doc:"the field's name in the file" example:"Provider NPI"`
	Code    string `json:"code" doc:"stable word for programs" example:"npi-digits"`
	Found   string `json:"found,omitempty" doc:"the form of what was found: 9 stands for a digit, A for a letter" example:"99999"`
	Part    string `json:"part,omitempty" doc:"of X12: set, group, interchange or segments, where that is at fault, and no single claim"`
	Message string `json:"message" doc:"what to change" example:"an NPI must have exactly 10 digits"`
}

// NewFault gives a fault as it is told.
func NewFault(f *intake.Fault) Fault {
	return Fault{
		Row: f.Row, Segment: f.Segment, Line: f.Line, Field: f.Field.String(), Column: f.Column, Code: f.Code, Found: f.Found, Part: f.Part, Message: f.Message,
	}
}

// PartFormat gives the format of a file about an import, by the import's own: its word, and its
// media type.
func PartFormat(format string, kind store.PartKind) (word, media string) {
	switch {
	case kind == store.FaultsPart, format == "ndjson", format == "json":
		return "ndjson", "application/x-ndjson"
	case format == "x12":
		return "x12", "application/edi-x12"
	default:
		return "csv", "text/csv; charset=utf-8"
	}
}

// IsError tells an error from a warning, which keeps no claim out.
func IsError(f *intake.Fault) bool { return f.Severity == claim.Error }

// Papers is what is written of a pass beside the counts; any of it may be nil.
type Papers struct {
	Rejects         *intake.Rejects
	Acknowledgement *intake.Acknowledgement
	Faults          io.Writer // NDJSON; errors only
}

// Tell writes down a verdict. Call it in the order of the file.
func (p *Papers) Tell(v *Verdict) error {
	if p.Rejects != nil {
		if err := p.reject(v); err != nil {
			return fmt.Errorf("write what is rejected: %w", err)
		}
	}
	if p.Acknowledgement != nil {
		if err := p.Acknowledgement.Add(v.Parcel, v.Faults); err != nil {
			return fmt.Errorf("write the acknowledgement: %w", err)
		}
	}
	return p.WriteFaults(v.Faults)
}

func (p *Papers) reject(v *Verdict) error {
	if v.Claim == nil {
		return p.Rejects.Add(v.Parcel, v.Faults)
	}
	return p.Rejects.Advance(v.Parcel)
}

// WriteFaults writes down the errors among faults.
func (p *Papers) WriteFaults(faults []intake.Fault) error {
	if p.Faults == nil {
		return nil
	}
	for i := range faults {
		if !IsError(&faults[i]) {
			continue
		}
		text, err := json.Marshal(NewFault(&faults[i]))
		if err == nil {
			_, err = p.Faults.Write(append(text, '\n'))
		}
		if err != nil {
			return fmt.Errorf("write faults: %w", err)
		}
	}
	return nil
}

// Close writes what is left. It does not close what is written to.
func (p *Papers) Close() error {
	var errs []error
	if p.Rejects != nil {
		errs = append(errs, p.Rejects.Close())
	}
	if p.Acknowledgement != nil {
		errs = append(errs, p.Acknowledgement.Close())
	}
	return errors.Join(errs...)
}
