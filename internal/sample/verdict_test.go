package sample_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/sample"
)

// enough is a sample in which there is something of everything.
func enough() sample.Config {
	return sample.Config{Claims: 3000, Lines: 4, Providers: 30, Bad: 0.3, Seed: 42}
}

// checkVerdict holds what becomes of a draft against what the sample says of its claim.
// Every rule is an error here, so that a good claim breaks none at all.
func checkVerdict(t *testing.T, draft *claim.Draft, want *sample.Claim) {
	t.Helper()
	validator := claim.Validator{
		Rules: claim.Rules{
			ProcedurePrefix: claim.Error, NPICheckDigit: claim.Error, CDTPattern: claim.Error,
			QuadrantCode: claim.Error, FutureDate: claim.Error, AllowedOverFees: claim.Error,
		},
		Now: func() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) },
	}
	got, found := validator.Validate(draft)
	if want.Bad == sample.Good {
		switch {
		case len(found) > 0:
			t.Errorf("claim %s: got %s on line %d, want nothing", want.ExternalID, found[0].Code, found[0].Line)
		case !slices.Equal(got.Lines, want.Lines):
			t.Errorf("claim %s: got %+v, want %+v", want.ExternalID, got.Lines, want.Lines)
		}
		return
	}
	var verdict, expected []string
	for _, v := range found {
		if v.Severity == claim.Warning {
			continue // of the format: see Write837D
		}
		fields := &draft.Lines[max(v.Line, 0)].Fields
		if v.Field == claim.AllowedFeesField && fields[claim.AllowedFeesField] == fields[claim.ProviderFeesField] {
			continue // what is billed was read as what is allowed, and told of already
		}
		verdict = append(verdict, fmt.Sprint(v.Line, " ", v.Field, " ", v.Code, " ", v.Severity))
	}
	field, code := want.Bad.Verdict()
	for line := range want.Lines {
		if want.BadLine == line || want.BadLine == claim.WholeClaim {
			expected = append(expected, fmt.Sprint(line, " ", field, " ", code, " error"))
		}
	}
	if got != nil || !slices.Equal(verdict, expected) {
		t.Errorf("claim %s, bad by its %s: got %q, want %q", want.ExternalID, want.Bad, verdict, expected)
	}
	defaults := validator
	defaults.Rules = claim.DefaultRules()
	if got, _ := defaults.Validate(draft); got != nil {
		t.Errorf("claim %s, bad by its %s: is accepted under the default rules", want.ExternalID, want.Bad)
	}
}

// What is written in any format, intake reads as what was meant: good claims as they are,
// under their number, and each bad one is refused for its reason and no other. Of 837D
// the allowed fees are those billed, for it has no others.
func TestIntakeReads(t *testing.T) {
	t.Parallel()
	for _, f := range formats() {
		file, err := intake.Open(strings.NewReader(written(t, f, enough())), intake.Options{})
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		for want := range newSample(t, enough()).Claims() {
			parcel, err := file.Next()
			if err != nil {
				t.Fatalf("%s: claim %s: %v", f.name, want.ExternalID, err)
			}
			if len(parcel.Refused) > 0 || parcel.Draft == nil || parcel.Draft.ExternalID.Text != want.ExternalID {
				t.Fatalf("%s: got %+v, refused for %v; want claim %s", f.name, parcel.Draft, parcel.Refused, want.ExternalID)
			}
			if f.name == "edi" {
				for i := range want.Lines {
					want.Lines[i].AllowedFees = want.Lines[i].ProviderFees
				}
			}
			checkVerdict(t, parcel.Draft, want)
		}
		if _, err := file.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, want the end", f.name, err)
		}
	}
}

// The same is true of the bare list of the brief.
func TestIntakeReadsLines(t *testing.T) {
	t.Parallel()
	for want := range newSample(t, enough()).Claims() {
		draft, err := intake.ReadLines(sample.AppendLines(nil, want))
		if err != nil {
			t.Fatalf("lines of claim %s: %v", want.ExternalID, err)
		}
		checkVerdict(t, draft, want)
	}
}
