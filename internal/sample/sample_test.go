package sample_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/sample"
)

// newSample makes a sample that must be one.
func newSample(t testing.TB, c sample.Config) *sample.Sample {
	t.Helper()
	s, err := sample.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// format is one way to write a sample.
type format struct {
	name  string
	write func(*sample.Sample, context.Context, io.Writer) (sample.Tally, error)
}

// formats are all of them, by the ending of their files.
func formats() []format {
	csv := func(header sample.Header) func(*sample.Sample, context.Context, io.Writer) (sample.Tally, error) {
		return func(s *sample.Sample, ctx context.Context, w io.Writer) (sample.Tally, error) {
			return s.WriteCSV(ctx, w, header)
		}
	}
	return []format{
		{"csv", csv(sample.PlainHeader)},
		{"brief.csv", csv(sample.BriefHeader)},
		{"ndjson", (*sample.Sample).WriteNDJSON},
		{"edi", (*sample.Sample).Write837D},
	}
}

// written gives a sample in a format.
func written(t testing.TB, f format, c sample.Config) string {
	t.Helper()
	var text bytes.Buffer
	if _, err := f.write(newSample(t, c), t.Context(), &text); err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	return text.String()
}

// clone keeps a claim that would be overwritten by the next.
func clone(c *sample.Claim) sample.Claim {
	kept := *c
	kept.Lines = slices.Clone(c.Lines)
	return kept
}

// collect gives all claims of a sample.
func collect(t testing.TB, c sample.Config) []sample.Claim {
	t.Helper()
	var claims []sample.Claim
	for c := range newSample(t, c).Claims() {
		claims = append(claims, clone(c))
	}
	return claims
}

// The bytes of each format are those that another program computed from the words of
// this package, with a PCG of its own: whoever knows the seed has the same claims. All
// kinds of bad claims, and one of two providers, are among them.
func TestGoldens(t *testing.T) {
	t.Parallel()
	c := sample.Config{Claims: 9, Lines: 2, Providers: 3, Bad: 0.7, Seed: 1189}
	for _, f := range formats() {
		if f.name == "brief.csv" {
			continue // only the header differs: see TestIntakeReads
		}
		want, err := os.ReadFile(filepath.Join("testdata", "claims."+f.name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(written(t, f, c), string(want)); diff != "" {
			t.Errorf("%s: got -, want +:\n%s", f.name, diff)
		}
	}
}

// A claim depends on the seed and its number: more claims, more bad ones or
// another format change nothing in it, more lines go behind those that it had, and
// another seed gives others.
func TestSeedDecides(t *testing.T) {
	t.Parallel()
	c := sample.Config{Claims: 300, Lines: 4, Providers: 50, Bad: 0.1, Seed: 5}
	first := collect(t, c)
	if again := collect(t, c); !reflect.DeepEqual(again, first) {
		t.Error("the same again: got other claims")
	}
	more := c
	more.Claims = 400
	if got := collect(t, more); !reflect.DeepEqual(got[:300], first) {
		t.Error("more claims: those before them differ")
	}
	worse := c
	worse.Bad = 0.5
	for i, got := range collect(t, worse) {
		if !slices.Equal(got.Lines, first[i].Lines) {
			t.Errorf("more bad claims: the lines of %s differ", got.ExternalID)
		}
		if first[i].Bad != sample.Good && (got.Bad != first[i].Bad || got.BadLine != first[i].BadLine) {
			t.Errorf("more bad claims: got %s for %s, want %s", got.Bad, got.ExternalID, first[i].Bad)
		}
	}
	other := c
	other.Seed = 6
	same := 0
	for i, got := range collect(t, other) {
		if got.Lines[0].SubscriberNumber == first[i].Lines[0].SubscriberNumber || got.Lines[0].ProviderNPI == first[i].Lines[0].ProviderNPI {
			same++
		}
	}
	if same > 0 {
		t.Errorf("another seed: %d claims have the same subscriber or provider", same)
	}
}

// As many claims are bad as are asked for, of every kind, on every line.
func TestShareOfBad(t *testing.T) {
	t.Parallel()
	const claims = 20_000
	for _, share := range []float64{0, 0.01, 0.25, 1} {
		var tally [8]int
		lines := map[int]int{}
		for c := range newSample(t, sample.Config{Claims: claims, Lines: 3, Providers: 9, Bad: share, Seed: 11}).Claims() {
			tally[c.Bad]++
			if c.Bad != sample.Good {
				lines[c.BadLine]++
			}
		}
		bad := float64(claims - tally[sample.Good])
		// Five standard deviations of so many throws.
		if off := math.Abs(bad - share*claims); off > 5*math.Sqrt(claims*share*(1-share)) {
			t.Errorf("share %v: got %v bad claims of %d", share, bad, claims)
		}
		if share == 0 {
			continue
		}
		for kind := sample.BadProcedure; kind <= sample.ImpossibleDate; kind++ {
			if got, want := float64(tally[kind]), bad/7; math.Abs(got-want) > 5*math.Sqrt(want) {
				t.Errorf("share %v: got %v of %s, want about %v", share, got, kind, want)
			}
		}
		for _, line := range []int{claim.WholeClaim, 0, 1, 2} {
			if lines[line] == 0 {
				t.Errorf("share %v: none is bad on line %d", share, line)
			}
		}
	}
}

// Nothing can be taken for a real person's, and nothing is odd unless it is asked for:
// NPIs begin with 9 and have their check digit, dates are in their range, and the plan
// never pays less than nothing.
func TestClaimsAreOfNobody(t *testing.T) {
	t.Parallel()
	const providers = 40
	npis, procedures := map[claim.NPI]int{}, map[string]bool{}
	mixed := 0
	for c := range newSample(t, sample.Config{Claims: 5000, Lines: 4, Providers: providers, Seed: 3}).Claims() {
		if c.Lines[0].ProviderNPI != c.Lines[3].ProviderNPI {
			mixed++
		}
		for _, l := range c.Lines {
			npis[l.ProviderNPI]++
			procedures[l.Procedure] = true
			date := l.ServiceDate.Reveal()
			if date < "2018-01-01T00:00:00" || date > "2023-12-31T00:00:00" || !strings.HasSuffix(date, "T00:00:00") {
				t.Fatalf("service date: got %s", date)
			}
			if !strings.HasPrefix(l.SubscriberNumber.Reveal(), "SAMPLE") || !strings.HasPrefix(l.PlanGroupNumber, "SAMPLE-") {
				t.Fatalf("got subscriber %s of group %s", l.SubscriberNumber.Reveal(), l.PlanGroupNumber)
			}
			if l.ExpectedPlanPayment() < 0 || l.AllowedFees > l.ProviderFees || l.MemberCopay < 0 || l.ProviderFees < 20_00 || l.ProviderFees >= 1520_00 {
				t.Fatalf("amounts: got %+v", l)
			}
		}
	}
	if len(npis) != providers {
		t.Errorf("got %d providers, want all of %d", len(npis), providers)
	}
	least, most := math.MaxInt, 0
	for npi, lines := range npis {
		least, most = min(least, lines), max(most, lines)
		if text := npi.String(); len(text) != 10 || text[0] != '9' || !npi.CheckDigitOK() {
			t.Errorf("got NPI %s", text)
		}
	}
	if most < 5*least {
		t.Errorf("the busiest provider has %d lines and the idlest %d, want more of a difference", most, least)
	}
	if len(procedures) != 200 {
		t.Errorf("got %d procedures, want 200", len(procedures))
	}
	if mixed < 300 || mixed > 500 { // one in ten has a second provider, sometimes the same or behind its last line
		t.Errorf("%d of 5000 claims have two providers", mixed)
	}
}

// A configuration beyond a limit is refused, by the name of what is beyond.
func TestConfigLimits(t *testing.T) {
	t.Parallel()
	good := sample.Config{Claims: 1, Lines: 1, Providers: 1}
	for _, test := range []struct {
		change func(*sample.Config)
		want   string
	}{
		{func(c *sample.Config) { c.Claims = -1 }, "claims is -1"},
		{func(c *sample.Config) { c.Claims = sample.MaxClaims + 1 }, "claims is 100000001"},
		{func(c *sample.Config) { c.Lines = 0 }, "lines is 0"},
		{func(c *sample.Config) { c.Lines = 1000 }, "lines is 1000; it must be from 1 to 999"},
		{func(c *sample.Config) { c.Providers = 0 }, "providers is 0"},
		{func(c *sample.Config) { c.Providers = sample.MaxProviders + 1 }, "providers is 10000001"},
		{func(c *sample.Config) { c.Bad = -0.1 }, "bad is -0.1"},
		{func(c *sample.Config) { c.Bad = 1.1 }, "bad is 1.1"},
		{func(c *sample.Config) { c.Bad = math.NaN() }, "bad is NaN"},
	} {
		c := good
		test.change(&c)
		if _, err := sample.New(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q in it", err, test.want)
		}
	}
	s := newSample(t, sample.Config{Claims: 1, Lines: 51, Providers: 1})
	if _, err := s.Write837D(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "at most 50") {
		t.Errorf("51 lines in 837D: got %v", err)
	}
	if _, err := s.WriteCSV(t.Context(), io.Discard, "odd"); err == nil || !strings.Contains(err.Error(), `header "odd" is unknown`) {
		t.Errorf("unknown header: got %v", err)
	}
}

// full is a writer that takes so many bytes and no more.
type full struct{ room int }

var errFull = errors.New("the disk is full")

func (f *full) Write(text []byte) (int, error) {
	if len(text) > f.room {
		return 0, errFull
	}
	f.room -= len(text)
	return len(text), nil
}

// A writer that fails ends the writing, and so does a context that ends, in time.
func TestWriteEnds(t *testing.T) {
	t.Parallel()
	c := sample.Config{Claims: sample.MaxClaims, Lines: 4, Providers: 10}
	for _, f := range formats() {
		if _, err := f.write(newSample(t, c), t.Context(), &full{room: 1 << 20}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v, want %v", f.name, err, errFull)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if tally, err := f.write(newSample(t, c), ended, io.Discard); !errors.Is(err, context.Canceled) || tally.Claims > 1000 {
			t.Errorf("%s: got %v after %d claims, want %v soon", f.name, err, tally.Claims, context.Canceled)
		}
	}
}

// The lines are written at many times the speed at which anything on the line takes
// them, and what a claim costs does not grow with their number.
func BenchmarkWrite(b *testing.B) {
	for _, f := range formats() {
		b.Run(f.name, func(b *testing.B) {
			b.ReportAllocs()
			const claims, lines = 10_000, 4
			s := newSample(b, sample.Config{Claims: claims, Lines: lines, Providers: 1000, Bad: 0.01, Seed: 1})
			for b.Loop() {
				if _, err := f.write(s, b.Context(), io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*claims*lines/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
