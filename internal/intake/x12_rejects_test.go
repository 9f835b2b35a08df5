package intake_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/intake"
)

// rejectsX12 reads a file, and gives what is rejected of it, as a file and one by one.
func rejectsX12(t testing.TB, input string) (string, []outcome) {
	t.Helper()
	reader := openX12(t, strings.NewReader(input))
	var out strings.Builder
	rejects := reader.Rejects(&out)
	var rejected []outcome
	for _, one := range judgeX12(t, reader) {
		if one.claim == nil {
			rejected = append(rejected, one)
			if err := rejects.Add(one.parcel, one.faults); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rejects.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), rejected
}

// codesX12 gives the codes of all that was rejected, but for notes about envelopes.
func codesX12(rejected []outcome) []string {
	var codes []string
	for _, one := range rejected {
		if one.parcel.Claims == 0 && one.parcel.Lines == 0 {
			continue
		}
		var text strings.Builder
		for _, f := range one.faults {
			text.WriteString(f.Code + " ")
		}
		codes = append(codes, text.String())
	}
	return codes
}

// rejectedX12 holds claims to be rejected among good ones, under two billing providers, in lines
// that end with CR and LF.
const rejectedX12 = "<isa>\r\n<gs>\r\n<st>\r\nBHT*0019*00*1*20180401*1200*CH~\r\nNM1*41*2*CLINIC*****46*C1~\r\n" +
	"HL*1**20*1~\r\nNM1*85*2*CLINIC*****XX*1497775530~\r\n" +
	"HL*2*1*22*0~\r\nSBR*P*18*GRP-1000~\r\nNM1*IL*1*DOE*JANE****MI*1~\r\n" +
	"CLM*C-1*10***11:B:1~\r\nDTP*472*D8*20180328~\r\nLX*1~\r\nSV3*AD:D0120*10~\r\n" +
	"HL*3**20*1~\r\nNM1*85*2*OTHER*****XX*1234567893~\r\n" +
	"HL*4*3*22*1~\r\nSBR*P*18*GRP-2000~\r\nNM1*IL*1*POE*ANN****MI*2~\r\n" +
	"CLM*C-2*20***11:B:1~\r\nDTP*472*D8*2018~\r\nLX*1~\r\nSV3*AD:D0120*20~\r\n" +
	"CLM*C-3*20***11:B:1~\r\nDTP*472*D8*20180329~\r\nLX*1~\r\nSV3*AD:D0120*20~\r\n" +
	"HL*5*4*23*0~\r\nPAT*19~\r\nNM1*QC*1*POE*TIM~\r\n" +
	"CLM*C-4*30***11:B:1~\r\nDTP*472*D8*20180330~\r\nLX*1~\r\nSV3*AD:D0120*29~\r\n" +
	"HL*6*3*22*1~\r\nSBR*P*18*~\r\nNM1*IL*1*ROE*RIC****MI*3~\r\n" +
	"CLM*C-5*40***11:B:1~\r\nDTP*472*D8*20180331~\r\nLX*1~\r\nSV3*AD:D0120*40~\r\n" +
	"<se>\r\nST*837*0002*005010X224A2~\r\nCLM*C-6*1~\r\nLX*1~\r\nSE*9*0002~\r\n<ge>\r\n<iea>\r\n"

// The claims that are rejected come back under their own subscribers and providers, levels
// numbered anew, with counts that fit; and a set refused as a whole comes as it was.
func TestX12Rejects(t *testing.T) {
	t.Parallel()
	got, _ := rejectsX12(t, expandX12(rejectedX12))
	want := expandX12("<isa>\r\n<gs>\r\n<st>\r\nBHT*0019*00*1*20180401*1200*CH~\r\nNM1*41*2*CLINIC*****46*C1~\r\n" +
		"HL*1**20*1~\r\nNM1*85*2*OTHER*****XX*1234567893~\r\n" +
		"HL*2*1*22*1~\r\nSBR*P*18*GRP-2000~\r\nNM1*IL*1*POE*ANN****MI*2~\r\n" +
		"CLM*C-2*20***11:B:1~\r\nDTP*472*D8*2018~\r\nLX*1~\r\nSV3*AD:D0120*20~\r\n" +
		"HL*3*2*23*0~\r\nPAT*19~\r\nNM1*QC*1*POE*TIM~\r\n" +
		"CLM*C-4*30***11:B:1~\r\nDTP*472*D8*20180330~\r\nLX*1~\r\nSV3*AD:D0120*29~\r\n" +
		"HL*4*1*22*0~\r\nSBR*P*18*~\r\nNM1*IL*1*ROE*RIC****MI*3~\r\n" +
		"CLM*C-5*40***11:B:1~\r\nDTP*472*D8*20180331~\r\nLX*1~\r\nSV3*AD:D0120*40~\r\n" +
		"SE*27*0001~\r\nST*837*0002*005010X224A2~\r\nCLM*C-6*1~\r\nLX*1~\r\nSE*9*0002~\r\nGE*2*7~\r\nIEA*1*000000001~\r\n")
	if diff := cmp.Diff(strings.Split(want, "\r\n"), strings.Split(got, "\r\n")); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// What is rejected, repaired and sent again is accepted, under the keys that the claims had in the
// first file.
func TestX12RejectsRepaired(t *testing.T) {
	t.Parallel()
	rejects, rejected := rejectsX12(t, expandX12(rejectedX12))
	first := map[string]bool{}
	for _, one := range rejected {
		if one.parcel.Draft != nil {
			first[one.parcel.Draft.Given.Value] = true
		}
	}
	for wrong, right := range map[string]string{
		"D8*2018~": "D8*20180328~", "D0120*29~": "D0120*30~", "18*~": "18*GRP-3000~",
		"CLM*C-6*1~":    "HL*1**20~NM1*85*2*A*****XX*1497775530~HL*2*1*22~SBR*P*18*G~NM1*IL*1*D*****MI*1~CLM*C-6*1***11:B:1~DTP*472*D8*20180328~",
		"LX*1~\r\nSE*9": "LX*1~\r\nSV3*AD:D0120*1~SE*11",
	} {
		if strings.Count(rejects, wrong) != 1 {
			t.Fatalf("%s stands %d times in what was rejected", wrong, strings.Count(rejects, wrong))
		}
		rejects = strings.Replace(rejects, wrong, right, 1)
	}
	var numbers []string
	for _, one := range judgeX12(t, openX12(t, strings.NewReader(rejects))) {
		if one.claim == nil {
			t.Fatalf("refused: %s", describeX12(one.faults))
		}
		number := one.claim.ExternalID
		numbers = append(numbers, number+" "+one.claim.Lines[0].SubscriberNumber.Reveal()+" "+one.claim.Lines[0].ProviderNPI.String())
		if number != "C-6" && !first[one.claim.Key.Value] {
			t.Errorf("%s: its key %q is another than before", number, one.claim.Key.Value)
		}
	}
	want := []string{"C-2 2 1234567893", "C-4 2 1234567893", "C-5 3 1234567893", "C-6 1 1497775530"}
	if diff := cmp.Diff(want, numbers); diff != "" {
		t.Errorf("claims: want -, got +:\n%s", diff)
	}
}

// Of every file of the golden, what is rejected is rejected again when it is sent as it is, for
// the same reasons, and then nothing about it changes any more.
func TestX12RejectsAgain(t *testing.T) {
	t.Parallel()
	for _, test := range trials(t, "x12.verdicts") {
		if test.name == "set number twice" || strings.HasPrefix(test.name, "cut inside") {
			continue // sent alone the set stands there once; a segment that was cut is ended
		}
		input := expandX12(test.input)
		if _, err := intake.NewX12(strings.NewReader(input)); err != nil {
			continue
		}
		first, rejected := rejectsX12(t, input)
		if first == "" {
			if len(codesX12(rejected)) > 0 {
				t.Errorf("%s: nothing was given back", test.name)
			}
			continue
		}
		second, again := rejectsX12(t, first)
		if diff := cmp.Diff(codesX12(rejected), codesX12(again)); diff != "" {
			t.Errorf("%s: first -, second +:\n%s", test.name, diff)
		}
		if first != second {
			t.Errorf("%s: got\n%s\nand then\n%s", test.name, first, second)
		}
	}
}

// A claim whose level is wrong does not slip under another one's in what is given back: it
// is refused again, whatever stands in front of it.
func TestX12RejectsKeepWrongLevels(t *testing.T) {
	t.Parallel()
	const claims = "CLM*C-1*1***11:B:1~DTP*472*D8*2018~LX*1~SV3*AD:D0120*1~"
	for name, wrong := range map[string]string{
		"unknown level":    "HL*5*2*24*0~<claim>",
		"other subscriber": "HL*5*9*23*0~<claim>",
		"other provider":   "HL*5*9*22*0~SBR*P*18*G~NM1*IL*1*D*****MI*1~<claim>",
		"number one":       "HL*5**20*1~NM1*85*2*B*****XX*1497775530~HL*6*1*22*0~SBR*P*18*G~NM1*IL*1*D*****MI*1~<claim>",
	} {
		first, rejected := rejectsX12(t, expandX12("<open>"+claims+wrong+"<close>"))
		_, again := rejectsX12(t, first)
		if want, got := codesX12(rejected), codesX12(again); len(want) != 2 || !cmp.Equal(want, got) {
			t.Errorf("%s: got %v, and again %v", name, want, got)
		}
	}
}
