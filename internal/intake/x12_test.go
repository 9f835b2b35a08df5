package intake_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// x12Parts are what the marks of the goldens stand for: <open> begins a file and <close> ends
// it, <claim> is a claim of one line.
var x12Parts = map[string]string{
	"isa":   "ISA*00*          *00*          *ZZ*CLINIC         *ZZ*PLAN           *180401*1200*^*00501*000000001*0*P*:~",
	"gs":    "GS*HC*CLINIC*PLAN*20180401*1200*7*X*005010X224A2~",
	"st":    "ST*837*0001*005010X224A2~",
	"bht":   "BHT*0019*00*1*20180401*1200*CH~NM1*41*2*CLINIC*****46*C1~PER*IC*DESK*TE*5550100~NM1*40*2*PLAN*****46*P1~",
	"hl20":  "HL*1**20*1~NM1*85*2*CLINIC*****XX*1497775530~N3*1 MAIN ST~N4*TOWN*FL*33111~",
	"hl22":  "HL*2*1*22*0~SBR*P*18*GRP-1000******CI~NM1*IL*1*DOE*JANE****MI*3730189502~NM1*PR*2*PLAN*****PI*P1~",
	"hl23":  "HL*3*2*23*0~PAT*19~NM1*QC*1*DOE*JIM~",
	"claim": "CLM*C-1*130***11:B:1*Y*A*Y*Y~DTP*472*D8*20180328~LX*1~SV3*AD:D4346*130**10**1~",
	"open":  "<isa><gs><st><bht><hl20><hl22>",
	"close": "<se><ge><iea>",
}

var (
	x12Mark     = regexp.MustCompile(`(?s)<[a-z0-9]+>|<delimiters ...>`)
	x12SetStart = regexp.MustCompile(`~\s*ST\*`)
)

// expandX12 puts parts in the place of marks. <se>, <ge> and <iea> are trailers whose
// counts and numbers fit what stands before them; <delimiters |;!> in front of all puts
// other characters in the place of * : and ~.
func expandX12(text string) string {
	var out string
	delimiters := "*:~"
	for text != "" {
		at := x12Mark.FindStringIndex(text)
		if at == nil {
			out += text
			break
		}
		out += text[:at[0]]
		mark := strings.Trim(text[at[0]:at[1]], "<>")
		text = text[at[1]:]
		behind := func(id string) string { return out[strings.LastIndex(out, id+"*"):] }
		element := func(id string, n int) string { return strings.Split(strings.Split(behind(id), "~")[0], "*")[n] }
		switch part, ok := x12Parts[mark]; {
		case ok:
			text = part + text
		case mark == "se":
			out += fmt.Sprintf("SE*%d*%s~", strings.Count(behind("ST"), "~")+1, element("ST", 2))
		case mark == "ge":
			out += fmt.Sprintf("GE*%d*%s~", len(x12SetStart.FindAllString(behind("GS"), -1)), element("GS", 6))
		case mark == "iea":
			out += fmt.Sprintf("IEA*%d*%s~", strings.Count(behind("ISA"), "GS*HC"), element("ISA", 13))
		default:
			delimiters = strings.TrimPrefix(mark, "delimiters ")
		}
	}
	return strings.NewReplacer("*", delimiters[:1], ":", delimiters[1:2], "~", delimiters[2:3]).Replace(out)
}

// describeX12 gives faults by segment, without the warning that all claims have.
func describeX12(faults []intake.Fault) string {
	var text []string
	for _, f := range faults {
		if f.Code == intake.CodeAmountsAssumed && f.Severity == claim.Warning {
			continue
		}
		place := fmt.Sprint("at ", f.Segment)
		if f.Line > 1 {
			place += fmt.Sprint(" line ", f.Line)
		}
		if f.Column != "" {
			place += " " + f.Column
		}
		place += " " + f.Code
		if f.Severity == claim.Warning {
			place += "?"
		}
		text = append(text, place)
	}
	return strings.Join(text, "; ")
}

// outcome is a parcel and what became of it.
type outcome struct {
	parcel *intake.Parcel
	claim  *claim.Claim // nil: rejected
	faults []intake.Fault
}

// judgeX12 reads a file to its end.
func judgeX12(t testing.TB, reader *intake.X12Reader) []outcome {
	t.Helper()
	var all []outcome
	for {
		parcel, err := reader.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		one := outcome{parcel: parcel}
		var violations []claim.Violation
		if parcel.Draft != nil {
			if one.claim, violations = validate(parcel.Draft); one.claim != nil {
				violations = one.claim.Warnings
			}
		}
		one.faults = reader.Faults(parcel, violations)
		if len(parcel.Refused) > 0 {
			one.claim = nil
		}
		all = append(all, one)
	}
}

// tellX12 says what becomes of a file, a line for each claim, set or note.
func tellX12(t testing.TB, source io.Reader) string {
	reader, err := intake.NewX12(source)
	if syntax, ok := errors.AsType[*intake.SyntaxError](err); ok {
		return "syntax: " + syntax.Error()
	}
	if err != nil {
		return "unexpected: " + err.Error()
	}
	var text []string
	for _, one := range judgeX12(t, reader) {
		var told string
		switch {
		case one.claim != nil:
			told = fmt.Sprintf("claim %s of %d lines, net %s", one.claim.ExternalID, one.parcel.Lines, one.claim.NetFee())
		case one.parcel.Draft != nil:
			told = fmt.Sprintf("refused claim of %d lines", one.parcel.Lines)
		case one.parcel.Claims > 0:
			told = fmt.Sprintf("refused set of %d claims, %d lines", one.parcel.Claims, one.parcel.Lines)
		default:
			told = "note"
		}
		if faults := describeX12(one.faults); faults != "" {
			told += ": " + faults
		}
		text = append(text, told)
	}
	if text == nil {
		return "nothing"
	}
	return strings.Join(text, "\n")
}

// Hostile and odd files have the verdicts, and the places, of the golden; also where the bytes
// come in one by one.
func TestX12Verdicts(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "x12.verdicts") {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			input := expandX12(test.input)
			if diff := cmp.Diff(test.want, tellX12(t, strings.NewReader(input))); diff != "" {
				t.Errorf("verdict: want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(test.want, tellX12(t, iotest.OneByteReader(strings.NewReader(input)))); diff != "" {
				t.Errorf("byte by byte: want -, got +:\n%s", diff)
			}
		})
	}
}

// The public samples are accepted, or refused for what they really lack: two have no group
// number, two no service date. The NPIs of three fail the check digit.
func TestX12Samples(t *testing.T) {
	t.Parallel()
	const folder = "../../../shared/data/x12/837d"
	for name, want := range map[string]string{
		"claim-from-billing-provider-to-payer-a.edi": "refused claim of 1 lines: at 14 SBR03 required; at 26 NM109 npi-check-digit?",
		"claim-multi-quantity-single-line.edi":       "claim 22 of 1 lines, net 0.00",
		"envelope-sample.txt":                        "refused claim of 2 lines: at 14 line 14 SBR03 required; at 26 line 26 NM109 npi-check-digit?",
		"multiple-tooth-numbers.edi":                 "refused claim of 1 lines: at 26 DTP03 required",
		"sales-tax.edi":                              "refused claim of 3 lines: at 26 DTP03 required; at 30 DTP03 required; at 33 DTP03 required",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := read(t, corpus(t, folder, name)[0])
			if got := tellX12(t, strings.NewReader(string(input))); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", filepath.Base(name), got, want)
			}
		})
	}
}
