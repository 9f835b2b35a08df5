package intake_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/x12"
)

// acknowledgeX12 gives the answer to a file.
func acknowledgeX12(t testing.TB, input string) string {
	t.Helper()
	reader := openX12(t, strings.NewReader(input))
	var out strings.Builder
	answer := reader.Acknowledgement(&out)
	for _, one := range judgeX12(t, reader) {
		if err := answer.Add(one.parcel, one.faults); err != nil {
			t.Fatal(err)
		}
	}
	if err := answer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The answer to a file, segment by segment, is that of the golden.
func TestX12Acknowledgements(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "x12.acknowledgements") {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := strings.TrimSuffix(strings.ReplaceAll(acknowledgeX12(t, expandX12(test.input)), "~", "~\n"), "\n")
			if diff := cmp.Diff(strings.Split(test.want, "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("answer: want -, got +:\n%s", diff)
			}
		})
	}
}

// The answer to any file is well in itself: envelopes whose counts and numbers fit, a verdict
// for every set, and no value of a claim but its number.
func TestX12AcknowledgementsAreWell(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "x12.verdicts") {
		input := expandX12(test.input)
		if _, err := intake.NewX12(strings.NewReader(input)); err != nil {
			continue
		}
		answer := acknowledgeX12(t, input)
		for _, secret := range []string{"3730189502", "20180328", "DOE", "GRP-1000", "1497775530"} {
			if strings.Contains(answer, secret) {
				t.Errorf("%s: %s shows in %s", test.name, secret, answer)
			}
		}
		if answer != "" {
			checkAnswer(t, test.name, answer)
		}
	}
}

// checkAnswer holds the verdicts of an answer against its counts.
func checkAnswer(t testing.TB, name, answer string) {
	t.Helper()
	reader, err := x12.NewReader(strings.NewReader(answer))
	if err != nil {
		t.Fatalf("%s: %v in %s", name, err, answer)
	}
	for {
		part, err := reader.Next()
		if err == io.EOF {
			return
		}
		if err != nil || len(part.Faults) > 0 {
			t.Fatalf("%s: got %v, %v in %s", name, err, part.Faults, answer)
		}
		sets, accepted, verdicts := 0, 0, 0
		var last x12.Segment
		for i := range part.Len() {
			switch segment := part.Segment(i); segment.ID() {
			case "AK2":
				sets++
			case "IK5":
				verdicts++
				if segment.Element(1) != "R" {
					accepted++
				}
			case "AK9":
				last = segment
			}
		}
		if got := last.Element(3) + " " + last.Element(4); got != fmt.Sprint(sets, " ", accepted) || verdicts != sets {
			t.Errorf("%s: %d sets, %d verdicts, %d accepted; AK9 says %s", name, sets, verdicts, accepted, got)
		}
	}
}

// A file of any format is asked for its answer; X12 alone has one.
func TestAcknowledgementOfFiles(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]bool{expandX12("<open><claim><close>"): true, csvHead + "\n" + csvRow: false} {
		file, err := intake.Open(strings.NewReader(input), intake.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := file.Acknowledgement(io.Discard) != nil; got != want {
			t.Errorf("%.10s: got an answer %t, want %t", input, got, want)
		}
		if _, err := file.Next(); err != nil {
			t.Errorf("%.10s: %v", input, err)
		}
	}
}

// What only the claims database finds is told of the claim's number; warnings are not told.
func TestX12AcknowledgementOfTheStore(t *testing.T) {
	t.Parallel()
	reader := openX12(t, strings.NewReader(expandX12("<open><claim><close>")))
	parcel, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	for severity, want := range map[claim.Severity]string{
		claim.Error:   "IK3*CLM*14*2300*8~CTX*CLM01:C-1~IK4*1*1028*7~IK5*E*5~AK9*E*1*1*1~",
		claim.Warning: "IK5*A~AK9*A*1*1*1~",
	} {
		var out strings.Builder
		answer := reader.Acknowledgement(&out)
		fault := intake.Fault{Line: 1, Field: claim.ExternalIDField, Code: "other-claim", Severity: severity}
		if err := answer.Add(parcel, []intake.Fault{fault}); err != nil {
			t.Fatal(err)
		}
		if err := answer.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "~"+want) {
			t.Errorf("got %s, want %s in it", out.String(), want)
		}
	}
}
