package intake_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/sample"
)

// openX12 reads the header of a file that has a good one.
func openX12(t testing.TB, source io.Reader) *intake.X12Reader {
	t.Helper()
	reader, err := intake.NewX12(source)
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// Every field comes from its own loop, though the same segments stand in others: the
// subscriber not from another payer's, the provider from the line, else from the claim, else
// who bills, each amount from where it belongs.
func TestX12Fields(t *testing.T) {
	t.Parallel()
	const input = `<isa><gs><st><bht>HL*1**20*1~PRV*BI*PXC*1223G0001X~NM1*85*2*CLINIC*****XX*1497775530~NM1*87*2~
HL*2*1*22*1~SBR*P**GRP-1000******CI~NM1*IL*1*DOE*JANE****MI*3730189502~NM1*PR*2*PLAN*****PI*P1~
HL*3*2*23*0~PAT*19~NM1*QC*1*DOE*JIM~
CLM* C-7 *380.50***11:B:1*Y*A*Y*Y~DTP*472*D8*20180328~REF*D9*77~NM1*DN*1*R*R****XX*1111111111~NM1*82*1*A*B****XX*1234567893~PRV*PE*PXC*1223G0001X~
SBR*S*18*OTHER-GRP~CAS*PR*2*1.25~AMT*D*50~OI***Y***Y~NM1*IL*1*ROE*RICK****MI*888888888~NM1*PR*2*OTHER*****PI*X~NM1*82*1*X*****XX*1111111112~
LX*1~SV3*AD:D2150:::x*100**10~TOO*JP*12*M:O~DTP*472*D8*20180401~NM1*82*1*C*D****XX*1467560003~SVD*X*80*AD:D2150**1~CAS*PR*2*10*1*3*4.5~DTP*573*D8*20180501~
LX*2~SV3*AD:D0120*280.5****2~
HL*4*1*22*0~SBR*P*18*GRP-2000~NM1*IL*1*POE*ANN****MI*5~
CLM*C-8*30***11:B:1~DTP*472*RD8*20180402-20180409~LX*1~SV3*AD:D0140*30**UL~
<close>`
	var claims []*claim.Claim
	for _, one := range judgeX12(t, openX12(t, strings.NewReader(expandX12(input)))) {
		if one.claim == nil {
			t.Fatalf("refused: %s", describeX12(one.faults))
		}
		claims = append(claims, one.claim)
	}
	type line struct {
		Date, Procedure, Quadrant, Group, Subscriber, NPI string
		Fees, Allowed, Coinsurance, Copay                 money.Cents
	}
	type seen struct {
		ID, Key  string
		Warnings []string
		Lines    []line
	}
	var got []seen
	for _, c := range claims {
		one := seen{ID: c.ExternalID, Key: string(c.Key.Kind) + " " + c.Key.Value}
		for _, w := range c.Warnings {
			one.Warnings = append(one.Warnings, fmt.Sprint(w.Line, " ", w.Code))
		}
		for _, l := range c.Lines {
			one.Lines = append(one.Lines, line{
				l.ServiceDate.Reveal(), l.Procedure, l.Quadrant, l.PlanGroupNumber, l.SubscriberNumber.Reveal(), l.ProviderNPI.String(),
				l.ProviderFees, l.AllowedFees, l.MemberCoinsurance, l.MemberCopay,
			})
		}
		got = append(got, one)
	}
	want := []seen{
		{"C-7", "x12 CLINIC*000000001*7*0001*C-7", []string{"-1 amounts-assumed", "0 claim-adjustment"}, []line{
			{"2018-04-01T00:00:00", "D2150", "10", "GRP-1000", "3730189502", "1467560003", 10000, 10000, 1125, 450},
			{"2018-03-28T00:00:00", "D0120", "", "GRP-1000", "3730189502", "1234567893", 28050, 28050, 0, 0},
		}},
		{"C-8", "x12 CLINIC*000000001*7*0001*C-8", []string{"-1 amounts-assumed", "0 service-date-range"}, []line{
			{"2018-04-02T00:00:00", "D0140", "UL", "GRP-2000", "5", "1497775530", 3000, 3000, 0, 0},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims: want -, got +:\n%s", diff)
	}
}

// The charge of a claim may be beyond what one fee may be: it is the sum of its lines.
func TestX12ChargeBeyondOneFee(t *testing.T) {
	t.Parallel()
	const input = `<isa><gs><st><bht>HL*1**20*1~NM1*85*2*CLINIC*****XX*1497775530~
HL*2*1*22*0~SBR*P*18*GRP-1000~NM1*IL*1*DOE*JANE****MI*3730189502~NM1*PR*2*PLAN*****PI*P1~
CLM*C-1*199999999.98***11:B:1~DTP*472*D8*20180328~LX*1~SV3*AD:D0140*99999999.99~LX*2~SV3*AD:D0150*99999999.99~
<close>`
	judged := judgeX12(t, openX12(t, strings.NewReader(expandX12(input))))
	if len(judged) != 1 || judged[0].claim == nil {
		t.Fatalf("got %+v, want one good claim", judged)
	}
	if got := judged[0].claim.Lines; len(got) != 2 || got[0].ProviderFees+got[1].ProviderFees != 2*money.MaxParsed {
		t.Errorf("got %d lines, want two of the largest fee", len(got))
	}
}

// No two claims have one key, whatever stands in the parts of it; the same claim of
// the same interchange has the same again.
func TestX12Keys(t *testing.T) {
	t.Parallel()
	key := func(sender, number string) string {
		input := strings.Replace(expandX12("<delimiters |>!><open><claim><close>"), "CLINIC         ", fmt.Sprintf("%-15s", sender), 1)
		input = strings.Replace(input, "C-1", number, 1)
		return judgeX12(t, openX12(t, strings.NewReader(input)))[0].claim.Key.Value
	}
	pairs := [][2]string{
		{"A", "B"}, {"A*000000001", "B"}, {"A", `000000001*B`}, {`A\`, "B"}, {`A\*`, "B"}, {`A*`, "B"}, {"A", `\*B`}, {"A", "*B"}, {"A", `\\*B`},
	}
	seen := map[string][2]string{}
	for _, pair := range pairs {
		value := key(pair[0], pair[1])
		if before, ok := seen[value]; ok {
			t.Errorf("%q and %q have one key, %q", before, pair, value)
		}
		seen[value] = pair
		if again := key(pair[0], " "+pair[1]+" "); again != value {
			t.Errorf("%q: got %q, and again %q", pair, value, again)
		}
	}
	longest := key(strings.Repeat("*", 15), strings.Repeat("*", 128)) // all of it escaped
	if want := 2*15 + 2*128 + len("*000000001*7*0001*"); len(longest) != want {
		t.Errorf("longest key: got %d bytes, want %d", len(longest), want)
	}
}

// What is told of a file holds no value of it: forms, places and advice only.
func TestX12FaultsHoldNoInput(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "x12.verdicts") {
		reader, err := intake.NewX12(strings.NewReader(expandX12(test.input)))
		if err != nil {
			continue
		}
		for _, one := range judgeX12(t, reader) {
			said := fmt.Sprintf("%+v", one.faults)
			for _, secret := range []string{"3730189502", "2018", "20990328", "DOE", "GRP-1000"} {
				if strings.Contains(said, secret) {
					t.Errorf("%s: %s shows in: %s", test.name, secret, said)
				}
			}
		}
	}
}

// What X12 is told of a date and an amount is how they are written in X12, and what was found is in the form in
// which it stands there.
func TestX12Advice(t *testing.T) {
	t.Parallel()
	const input = `<isa><gs><st><bht><hl20><hl22>CLM*C-1*10***11:B:1~DTP*472*D8*20220230~LX*1~SV3*AD:D0140*1..0**UL~<close>`
	var got []string
	for _, one := range judgeX12(t, openX12(t, strings.NewReader(expandX12(input)))) {
		for _, fault := range one.faults {
			if fault.Severity == claim.Error {
				got = append(got, fault.Column+" "+fault.Found+": "+fault.Message)
			}
		}
	}
	want := []string{
		"DTP03 99999999: write a real date as CCYYMMDD; a range (RD8) as two of them with a hyphen between",
		"SV302 9..9: write an amount as 1234.5, without a sign for the currency or thousands",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// What is held in memory for a set is told once, with its first claim; of a set that is refused
// with all of it.
func TestX12Sizes(t *testing.T) {
	t.Parallel()
	set := expandX12("<st><bht><hl20><hl22><claim><claim><se>")
	var got []bool
	for _, one := range judgeX12(t, openX12(t, strings.NewReader(expandX12("<isa><gs>")+set+set+"GE*2*7~IEA*1*000000001~"))) {
		got = append(got, one.parcel.Size > len(set))
	}
	if want := []bool{true, false, true}; !cmp.Equal(want, got) { // the second set has the number of the first
		t.Errorf("got %v, want %v", got, want)
	}
}

// A claim of too many lines, and a set of too many claims, are refused, and said to be as many as
// they are; what follows is read.
func TestX12Limits(t *testing.T) {
	t.Parallel()
	lines := func(n int) string {
		return fmt.Sprintf("CLM*C-1*%d***11:B:1~DTP*472*D8*20180328~", n) + strings.Repeat("LX*1~SV3*AD:D4346*1~", n)
	}
	second := "<se>ST*837*0002*005010X224A2~<bht><hl20><hl22><claim><close>"
	const good = "claim C-1 of 1 lines, net 0.00"
	for name, test := range map[string]struct{ input, want string }{
		"999 lines":    {"<open>" + lines(999) + "<claim><close>", "claim C-1 of 999 lines, net 0.00\n" + good},
		"1000 lines":   {"<open>" + lines(1000) + "<claim><close>", "refused claim of 1000 lines: at 16 LX too-many-lines\n" + good},
		"3000 lines":   {"<open>" + lines(3000) + "<claim><close>", "refused claim of 3000 lines: at 16 LX too-many-lines\n" + good},
		"5001 claims":  {"<open>" + strings.Repeat("<claim>", 5001) + second, "refused set of 5001 claims, 5001 lines: at 3 ST too-many-claims\n" + good},
		"15001 levels": {"<open>" + strings.Repeat("HL*9*1*22*0~", 14999) + "<claim>" + second, "refused set of 1 claims, 1 lines: at 3 ST too-many-levels\n" + good},
		"faults":       {"<open>" + "CLM*C-1*130***11:B:1~" + strings.Repeat("SV1*1~", 300) + "<claim><close>", "refused claim of 0 lines: " + faultsFrom(17, 100) + "\n" + good},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input := test.input
			for _, mark := range []string{"<claim>"} { // there are many
				input = strings.ReplaceAll(input, mark, x12Parts["claim"])
			}
			if diff := cmp.Diff(test.want, tellX12(t, strings.NewReader(expandX12(input)))); diff != "" {
				t.Errorf("want -, got +:\n%.2000s", diff)
			}
		})
	}
}

// faultsFrom gives what is told of a claim without lines and of misplaced segments behind it.
func faultsFrom(segment, count int) string {
	text := []string{fmt.Sprintf("at %d LX no-lines", segment-1)}
	for i := range count {
		text = append(text, fmt.Sprintf("at %d misplaced-segment", segment+i))
	}
	return strings.Join(text, "; ")
}

// manyX12 gives a file of a set of the number of claims, of two lines each.
func manyX12(claims int) string {
	const one = "CLM*C-%d*260***11:B:1*Y*A*Y*Y~DTP*472*D8*20180328~REF*D9*17312345600006351~NM1*82*1*A*B****XX*1497775530~PRV*PE*PXC*1223G0001X~" +
		"LX*1~SV3*AD:D4346*130**10**1~TOO*JP*12*M:O~LX*2~SV3*AD:D0120*130****1~"
	var all strings.Builder
	for i := range claims {
		fmt.Fprintf(&all, "HL*%d*1*22*0~SBR*P*18*GRP-1000******CI~NM1*IL*1*DOE*JANE****MI*%d~N3*1 ROAD~N4*TOWN*FL*33111~DMG*D8*19710101*F~NM1*PR*2*PLAN*****PI*P1~", i+2, i)
		fmt.Fprintf(&all, one, i)
	}
	return expandX12("<isa><gs><st><bht><hl20>" + all.String() + "<close>")
}

// A claim of two lines costs seven allocations: its parcel, draft, lines, place, date, key and
// row; none for an element or a segment.
func TestX12Allocations(t *testing.T) {
	const claims = 2000
	input := manyX12(claims)
	allocations := testing.AllocsPerRun(3, func() {
		reader := openX12(t, strings.NewReader(input))
		for given := 0; ; given++ {
			if _, err := reader.Next(); err == io.EOF {
				if given != claims {
					t.Fatalf("got %d claims, want %d", given, claims)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
	if per := allocations / claims; per > 8 {
		t.Errorf("got %.1f allocations for a claim, want 8 at most", per)
	}
}

func BenchmarkX12(b *testing.B) {
	const claims = 1000
	input := manyX12(claims)
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	for b.Loop() {
		reader := openX12(b, strings.NewReader(input))
		for {
			if _, err := reader.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/claims, "ns/claim")
}

// The sample's claims, written by other code than reads them, come back as they were meant:
// every field of every line, but for the allowed fees, which X12 does not carry; and what is
// spoiled in one is found, in the field that it is of.
func TestX12OfSample(t *testing.T) {
	t.Parallel()
	made, err := sample.New(sample.Config{Claims: 1000, Lines: 3, Providers: 20, Bad: 0.3, Seed: 12})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := made.Write837D(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	outcomes := judgeX12(t, openX12(t, &file))
	at, good := 0, 0
	for want := range made.Claims() {
		one := outcomes[at]
		at++
		if number := one.parcel.Draft.ExternalID.Text; number != want.ExternalID {
			t.Fatalf("claim %d: got %s, want %s", at, number, want.ExternalID)
		}
		if want.Bad != sample.Good {
			field, code := want.Bad.Verdict()
			if one.claim != nil || !slices.ContainsFunc(one.faults, func(f intake.Fault) bool { return f.Field == field && f.Code == code }) {
				t.Errorf("%s: got %s, want %s %s", want.ExternalID, describeX12(one.faults), field, code)
			}
			continue
		}
		if one.claim == nil {
			t.Errorf("%s: got %s, want it accepted", want.ExternalID, describeX12(one.faults))
			continue
		}
		good++
		for i, line := range want.Lines {
			line.AllowedFees = line.ProviderFees
			line.ServiceDate = one.claim.Lines[i].ServiceDate // the time of day is not carried
			if one.claim.Lines[i] != line || line.ServiceDate.Reveal()[:10] != want.Lines[i].ServiceDate.Reveal()[:10] {
				t.Errorf("%s, line %d: got %v, want %v", want.ExternalID, i, one.claim.Lines[i], line)
			}
		}
	}
	if at != len(outcomes) || good == 0 || good == at {
		t.Errorf("got %d claims of %d, %d of them good", len(outcomes), at, good)
	}
}
