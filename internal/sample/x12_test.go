package sample_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/sample"
)

// ediClaim is what a claim in 837D says, element by element.
type ediClaim struct {
	id, group, subscriber, total, rendering string
	lines                                   []ediLine
}

type ediLine struct {
	procedure, billed, quadrant, date, rendering, paid string
	adjusted                                           map[string]string // CAS group and reason
}

// ediReader checks the envelopes of an interchange and takes its claims out.
type ediReader struct {
	*testing.T
	billing  string
	claims   []ediClaim
	perSet   []int
	segments int // of the open set
	parent   int // the level of who bills, and
	level    int // the last level, of the open set
}

func (r *ediReader) want(what, got, want string) {
	r.Helper()
	if got != want {
		r.Fatalf("%s behind claim %d: got %q, want %q", what, len(r.claims), got, want)
	}
}

// element gives one element of a segment, from 1; "" for one behind its end.
func element(segment []string, at int) string {
	if at < len(segment) {
		return segment[at]
	}
	return ""
}

func (r *ediReader) read(text string) {
	r.Helper()
	r.want("end", text[len(text)-2:], "~\n")
	r.want("length of ISA", strconv.Itoa(strings.Index(text, "~")), "105")
	for part := range strings.SplitSeq(strings.TrimSuffix(text, "~\n"), "~\n") {
		r.want("last element", strconv.FormatBool(strings.HasSuffix(part, "*")), "false")
		segment := strings.Split(part, "*")
		r.segments++
		switch segment[0] {
		case "ISA", "GS", "GE", "IEA", "ST", "SE":
			r.envelope(segment)
		case "HL":
			r.hierarchy(segment)
		case "SV3", "SVD", "CAS", "LX":
			r.line(segment)
		default:
			r.segment(segment)
		}
	}
}

func (r *ediReader) envelope(segment []string) {
	r.Helper()
	set := fmt.Sprintf("%04d", len(r.perSet))
	switch segment[0] {
	case "ISA":
		r.want("usage", segment[15], "T")
	case "ST":
		r.perSet = append(r.perSet, 0)
		r.segments, r.level = 1, 0
		r.want("ST02", segment[2], fmt.Sprintf("%04d", len(r.perSet)))
		r.want("ST03", segment[3], "005010X224A2")
	case "SE":
		r.want("SE01", segment[1], strconv.Itoa(r.segments))
		r.want("SE02", segment[2], set)
	case "GE":
		r.want("GE", strings.Join(segment[1:], " "), strconv.Itoa(len(r.perSet))+" 1")
	case "IEA":
		r.want("IEA", strings.Join(segment[1:], " "), "1 000000001")
	}
}

func (r *ediReader) hierarchy(segment []string) {
	r.Helper()
	r.level++
	r.want("HL01", segment[1], strconv.Itoa(r.level))
	if segment[3] == "20" {
		r.parent = r.level
		return
	}
	r.want("HL02 to HL04", strings.Join(segment[2:], " "), strconv.Itoa(r.parent)+" 22 0")
	r.claims = append(r.claims, ediClaim{})
	r.perSet[len(r.perSet)-1]++
}

func (r *ediReader) line(segment []string) {
	r.Helper()
	c := &r.claims[len(r.claims)-1]
	if segment[0] == "LX" {
		c.lines = append(c.lines, ediLine{adjusted: map[string]string{}})
		r.want("LX01", segment[1], strconv.Itoa(len(c.lines)))
		return
	}
	l := &c.lines[len(c.lines)-1]
	switch segment[0] {
	case "SV3":
		l.procedure, l.billed, l.quadrant = segment[1], segment[2], segment[4]
		r.want("SV306", segment[6], "1")
	case "SVD":
		l.paid = segment[2]
		r.want("SVD03", segment[3], l.procedure)
	case "CAS":
		for at := 2; at < len(segment); at += 3 {
			l.adjusted[segment[1]+segment[at]] = segment[at+1]
		}
	}
}

func (r *ediReader) segment(segment []string) {
	r.Helper()
	if segment[0] == "NM1" && segment[1] == "85" {
		r.billing = segment[9]
	}
	if len(r.claims) == 0 || r.level < 2 {
		return
	}
	c := &r.claims[len(r.claims)-1]
	switch segment[0] + "*" + segment[1] {
	case "SBR*S":
		c.group = segment[3]
	case "NM1*IL":
		if c.total == "" { // behind CLM it is another payer's subscriber
			c.subscriber = element(segment, 9)
		}
	case "CLM*" + segment[1]:
		c.id, c.total = segment[1], segment[2]
	case "NM1*82":
		if len(c.lines) == 0 {
			c.rendering = segment[9]
		} else {
			c.lines[len(c.lines)-1].rendering = segment[9]
		}
	case "DTP*472":
		c.lines[len(c.lines)-1].date = segment[3]
	}
}

// asMeant gives what a claim must say in 837D.
func asMeant(c *sample.Claim, billing string) ediClaim {
	var total money.Cents
	want := ediClaim{id: c.ExternalID, group: c.Lines[0].PlanGroupNumber, subscriber: c.Lines[0].SubscriberNumber.Reveal()}
	if c.Bad == sample.NoSubscriber {
		want.subscriber = ""
	}
	if first := c.Lines[0].ProviderNPI.String(); first != billing {
		want.rendering = first
	}
	for i, l := range c.Lines {
		total += l.ProviderFees
		date := strings.ReplaceAll(l.ServiceDate.Reveal()[:len("2006-01-02")], "-", "")
		line := ediLine{
			procedure: "AD:" + l.Procedure, billed: l.ProviderFees.String(), quadrant: l.Quadrant, date: date,
			paid: l.ExpectedPlanPayment().String(), adjusted: map[string]string{},
		}
		for key, amount := range map[string]money.Cents{"CO45": l.ProviderFees - l.AllowedFees, "PR2": l.MemberCoinsurance, "PR3": l.MemberCopay} {
			if amount != 0 {
				line.adjusted[key] = amount.String()
			}
		}
		if l.ProviderNPI != c.Lines[0].ProviderNPI {
			line.rendering = l.ProviderNPI.String()
		}
		if c.BadLine == i {
			switch c.Bad {
			case sample.BadProcedure:
				line.procedure = "AD:P" + l.Procedure[1:]
			case sample.BadNPI:
				line.rendering = l.ProviderNPI.String()[:9]
			case sample.BadPrecision:
				line.billed += "5"
			case sample.BadAmount:
				line.billed = line.billed[:len(line.billed)-2] + "OO"
			case sample.BadNegative:
				line.billed = "-" + line.billed
				total -= 2 * l.ProviderFees
			case sample.ImpossibleDate:
				line.date = date[:4] + "0230"
			}
		}
		want.lines = append(want.lines, line)
	}
	want.total = total.String()
	return want
}

// An interchange has the counts and control numbers that its trailers tell, sets of at
// most 200 claims, and says of every claim what the other formats say of it, whose
// amounts balance: what is billed is what was paid and every adjustment.
func TestInterchange(t *testing.T) {
	t.Parallel()
	var edi format
	for _, f := range formats() {
		if f.name == "edi" {
			edi = f
		}
	}
	r := &ediReader{T: t}
	r.read(written(t, edi, enough()))
	if got, want := len(r.perSet), 15; got != want || slices.Max(r.perSet) != 200 {
		t.Errorf("sets: got %v, want %d of 200 claims", r.perSet, want)
	}
	at := 0
	for c := range newSample(t, enough()).Claims() {
		got, want := fmt.Sprintf("%+v", r.claims[at]), fmt.Sprintf("%+v", asMeant(c, r.billing))
		if got != want {
			t.Fatalf("claim %s:\n got %s\nwant %s", c.ExternalID, got, want)
		}
		for i, l := range r.claims[at].lines {
			if c.BadLine == i || c.Bad == sample.NoSubscriber {
				continue
			}
			sum := parse(t, l.paid)
			for _, amount := range l.adjusted {
				sum += parse(t, amount)
			}
			if billed := parse(t, l.billed); sum != billed {
				t.Errorf("claim %s: %s is billed, %s is paid or adjusted", c.ExternalID, billed, sum)
			}
		}
		at++
	}
	if at != len(r.claims) {
		t.Errorf("got %d claims, want %d", len(r.claims), at)
	}
	for _, claims := range []int{0, 1, 200, 201} {
		r := &ediReader{T: t}
		r.read(written(t, edi, sample.Config{Claims: claims, Lines: 1, Providers: 1}))
		if len(r.claims) != claims || len(r.perSet) != max(1, (claims+199)/200) {
			t.Errorf("%d claims: got %d in %d sets", claims, len(r.claims), len(r.perSet))
		}
	}
}

func parse(t *testing.T, text string) money.Cents {
	t.Helper()
	cents, err := money.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return cents
}
