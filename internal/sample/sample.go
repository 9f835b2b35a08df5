// Package sample makes claims of nobody, as many as are asked for. It stands beside
// the line, in front of its first station: what it writes is for tests, benchmarks
// and trials, in every format that intake reads. It is no part of the line, and no
// station knows it.
//
// The same configuration gives the same claims for ever, in every format, and a claim
// depends on the seed and its own number only: more claims change nothing in those
// before them. Nothing looks like a real person's: subscribers and groups are called
// SAMPLE, provider NPIs begin with 9, which no issued one does, and procedure
// codes come from arithmetic, not from a list.
package sample

import (
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// Limits of a sample.
const (
	MaxClaims    = 100_000_000
	MaxProviders = 10_000_000
)

// Config says which claims a sample has.
type Config struct {
	Claims    int     // how many, up to MaxClaims; 0 is an empty sample
	Lines     int     // of each claim, from 1 to claim.MaxLines
	Providers int     // how many different NPIs there can be, from 1 to MaxProviders
	Bad       float64 // share of claims that must be refused, from 0 to 1
	Seed      uint64
}

// Validate says which limit a configuration breaks, by the name of its field in
// lower case, which is also that of its flag.
func (c Config) Validate() error {
	inRange := func(name string, value, least, most int) error {
		if value < least || value > most {
			return fmt.Errorf("%s is %d; it must be from %d to %d", name, value, least, most)
		}
		return nil
	}
	if err := inRange("claims", c.Claims, 0, MaxClaims); err != nil {
		return err
	}
	if err := inRange("lines", c.Lines, 1, claim.MaxLines); err != nil {
		return err
	}
	if err := inRange("providers", c.Providers, 1, MaxProviders); err != nil {
		return err
	}
	if !(c.Bad >= 0 && c.Bad <= 1) { // so that NaN is refused, too
		return fmt.Errorf("bad is %v; it must be a share from 0 to 1", c.Bad)
	}
	return nil
}

// Claim is one claim of a sample.
type Claim struct {
	ExternalID string // "S<seed>-<number>": a sample that is sent again is a repeat
	// Lines say what the claim means, also where Bad spoils how it is written.
	Lines []claim.Line
	Bad   Bad // what is wrong with it
	// BadLine is the index of the line that is wrong; claim.WholeClaim where all are,
	// and where none is.
	BadLine int
}

// spoils tells whether a field of a line is to be written wrongly, and how.
func (c *Claim) spoils(line int) Bad {
	if c.Bad == Good || c.BadLine != claim.WholeClaim && c.BadLine != line {
		return Good
	}
	return c.Bad
}

// What claims are made of.
const (
	firstDay = 17532 // 2018-01-01, in days since 1970-01-01
	days     = 2191  // to 2023-12-31

	subscribers = 100_000_000
	groups      = 1000

	// Procedures are D and (procedureStep * n) modulo 10,000, written with four digits.
	// That the step has no factor in common with 10,000 makes them differ.
	procedures    = 200
	procedureStep = 137

	leastBilled = money.Cents(20_00)
	billedRange = 1500_00 // cents above leastBilled

	leastAllowed = 40 // percent of what is billed; the most is all of it

	// oneInMixed: so many claims have one for which two providers did the work.
	oneInMixed = 10
)

// Choices, each as likely as the others.
var (
	// quadrants are codes: the one form that every format can carry.
	quadrants = [...]string{"", "", "", "", "10", "20", "30", "40"}
	// coinsurances are percent of what is allowed.
	coinsurances = [...]money.Cents{0, 10, 20, 50}
	copays       = [...]money.Cents{0, 0, 10_00, 25_00}
)

// Sample is a row of claims.
type Sample struct {
	config        Config
	procedures    [procedures]string
	firstProvider uint64 // of npiRange
}

// npiRange is how many NPIs begin with 9.
const npiRange = 100_000_000

// New makes a sample. The error is that of Config.Validate.
func New(c Config) (*Sample, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("make a sample: %w", err)
	}
	s := &Sample{config: c}
	for i := range s.procedures {
		s.procedures[i] = fmt.Sprintf("D%04d", i*procedureStep%10_000)
	}
	// Claims take the numbers from 1; 0 is left for what the whole sample has.
	d := newDice(c.Seed, 0)
	s.firstProvider = d.below(npiRange)
	return s, nil
}

// Claims gives all claims, in order. Each is valid until the next is given.
func (s *Sample) Claims() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		c := &Claim{Lines: make([]claim.Line, s.config.Lines)}
		for number := 1; number <= s.config.Claims; number++ {
			s.fill(c, number)
			if !yield(c) {
				return
			}
		}
	}
}

// fill makes the claim of a number. The order in which the dice are thrown is part of
// what a seed means.
func (s *Sample) fill(c *Claim, number int) {
	d := newDice(s.config.Seed, uint64(number))
	c.Bad, c.BadLine = Good, claim.WholeClaim
	kind := Bad(1 + d.below(badKinds))
	line := int(d.below(uint64(s.config.Lines)))
	if d.share() < s.config.Bad {
		c.Bad = kind
		if !kind.ofClaim() {
			c.BadLine = line
		}
	}
	c.ExternalID = "S" + strconv.FormatUint(s.config.Seed, 10) + "-" + strconv.Itoa(number)
	subscriber := claim.NewSubscriberNumber(padded("SAMPLE", 8, d.below(subscribers)))
	group := padded("SAMPLE-", 3, d.below(groups))
	date := claim.ServiceDateFromUnix(int64(firstDay+d.below(days)) * int64(24*time.Hour/time.Second))
	provider, second := s.provider(&d), s.provider(&d)
	change := len(c.Lines) // the first line of the second provider
	if d.below(oneInMixed) == 0 {
		change = 1 + int(d.below(uint64(len(c.Lines))))
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		*l = claim.Line{ServiceDate: date, PlanGroupNumber: group, SubscriberNumber: subscriber, ProviderNPI: provider}
		if i >= change {
			l.ProviderNPI = second
		}
		l.Procedure = s.procedures[d.below(procedures)]
		l.Quadrant = quadrants[d.below(uint64(len(quadrants)))]
		price(l, &d)
	}
}

// price sets the four amounts, so that the plan pays something or nothing, never less.
func price(l *claim.Line, d *dice) {
	l.ProviderFees = leastBilled + money.Cents(d.below(billedRange))
	l.AllowedFees = l.ProviderFees * money.Cents(leastAllowed+d.below(100-leastAllowed+1)) / 100
	l.MemberCoinsurance = l.AllowedFees * coinsurances[d.below(uint64(len(coinsurances)))] / 100
	l.MemberCopay = min(copays[d.below(uint64(len(copays)))], l.AllowedFees-l.MemberCoinsurance)
}

// provider picks one. The square of the throw makes few of them busy, as in life.
func (s *Sample) provider(d *dice) claim.NPI {
	throw := d.next()
	square, _ := bits.Mul64(throw, throw)
	index, _ := bits.Mul64(square, uint64(s.config.Providers))
	return s.npi(index)
}

// npi gives the NPI of the provider with an index: 9, eight digits, and the check digit.
func (s *Sample) npi(index uint64) claim.NPI {
	npi := claim.NPI(9*npiRange+(s.firstProvider+index)%npiRange) * 10
	for !npi.CheckDigitOK() {
		npi++
	}
	return npi
}

// padded gives a name and a number behind it, with zeros in front up to a width.
func padded(name string, width int, number uint64) string {
	buffer := append(make([]byte, 0, 24), name...)
	return string(appendPadded(buffer, width, number))
}

// appendPadded appends a number with zeros in front up to a width.
func appendPadded(dst []byte, width int, number uint64) []byte {
	digits := 1
	for rest := number / 10; rest > 0; rest /= 10 {
		digits++
	}
	for ; digits < width; digits++ {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, number, 10)
}

// dice is what one claim draws from. It builds on the numbers of PCG alone, which are
// specified; what rand.Rand makes of them could change with a release of Go.
type dice struct{ source rand.PCG }

func newDice(seed, number uint64) dice { return dice{*rand.NewPCG(seed, number)} }

func (d *dice) next() uint64 { return d.source.Uint64() }

// below gives a number from 0 to limit-1.
func (d *dice) below(limit uint64) uint64 {
	high, _ := bits.Mul64(d.next(), limit)
	return high
}

// share gives a number from 0 up to, and without, 1.
func (d *dice) share() float64 { return float64(d.next()>>11) / (1 << 53) }
