package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// Variables of TestTorture, which the Makefile sets.
const (
	killsVariable    = "E2E_KILLS"    // of the embedded server
	roundsVariable   = "E2E_ROUNDS"   // in each of which all of a fleet is killed once, in turn
	cutsVariable     = "E2E_CUTS"     // of the power, for each rig
	messagesVariable = "E2E_MESSAGES" // that are played again
	minutesVariable  = "E2E_MINUTES"  // after which a rig that takes files takes no more, and ends
)

// The short form, which is run where the variables are not set.
const (
	shortKills    = 15
	shortRounds   = 1
	shortCuts     = 2
	shortMessages = 20_000
	mostMinutes   = 48 * 60

	shortFleetMessages = 10_000
)

// torture is one rig at work: a test, and the row of the table that is its outcome.
type torture struct {
	*testing.T
	random *rand.Rand
	row    *row
}

// The rigs that need more than a process may have everywhere, or more time than a test has:
// each puts real processes under load and does its worst. A rig that can not start fails. At
// the end a table tells what was done, what was acknowledged, and what of it was lost,
// doubled or changed, which must be nothing.
func TestTorture(t *testing.T) {
	t.Parallel()
	if os.Getenv(tortureVariable) == "" {
		t.Skip("it takes minutes, and root: make torture runs it")
	}
	seed := newSeed(t)
	var rows []*row
	var names []string
	for _, rig := range rigs() {
		names = append(names, rig.name)
		r := &row{name: rig.name, control: rig.control, history: newHistory()}
		t.Run(rig.name, func(t *testing.T) {
			rows = append(rows, r)
			begin := time.Now()
			defer func() { r.took, r.failed = time.Since(begin), t.Failed() }()
			rig.run(&torture{T: t, random: rand.New(rand.NewPCG(seed, 0)), row: r})
			if err := r.held(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := noRig(rows, names); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", tortureTable(rows))
	t.Logf("make torture SEED=%d draws the same again; with RIG=NAME one rig alone", seed)
}

// rig is one way to do the worst.
type rig struct {
	name    string
	run     func(*torture)
	control bool // as in row
}

func rigs() []rig {
	return []rig{
		{name: "kill", run: (*torture).kill},
		{name: "kill-import", run: (*torture).killImports},
		{name: "kill-fleet", run: (*torture).killFleet},
		{name: "power", run: (*torture).cutPower},
		{name: "power-fleet", run: (*torture).cutPowerOfFleet},
		{name: "power-control", run: (*torture).cutPowerOfControl, control: true},
		{name: "full", run: (*torture).fill},
		{name: "harass", run: (*torture).harass},
		{name: "stall", run: (*torture).stall},
		{name: "partition", run: (*torture).partition},
		{name: "roll", run: (*torture).roll},
		{name: "replay", run: (*torture).replay},
		{name: "replay-fleet", run: (*torture).replayFleet},
		{name: "commit", run: (*torture).cutCommits},
		{name: "poison", run: (*torture).poison},
		{name: "poison-fleet", run: (*torture).poisonFleet},
	}
}

// noRig is the error where none of the rigs ran: somebody has asked for one that is not there, and
// would take nothing for all being well.
func noRig(ran []*row, names []string) error {
	if len(ran) > 0 {
		return nil
	}
	return fmt.Errorf("no rig ran: give RIG the name of one: %s", strings.Join(names, ", "))
}

// tortureTable writes a line for each rig, and one for all.
func tortureTable(rows []*row) string {
	var text strings.Builder
	page := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(page, "rig\tfaults\tclaims\tacknowledged\tlost\tdoubled\twrong amount\tunexpected\tseconds\t\t")
	all := map[string]int{}
	for _, r := range rows {
		claims, confirmed, _ := r.history.Figures()
		verdict := "well"
		if r.failed {
			verdict = "FAILED"
		}
		found, name := r.history.Found(), r.name
		if r.control {
			name += " (must lose)"
		}
		fmt.Fprintf(page, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%s\t\n", name, r.faults, claims, confirmed,
			found[lost], found[duplicated], found[wrongAmount], found[unexpected], r.took.Seconds(), verdict)
		all["faults"] += r.faults
		all["claims"] += claims
		all["confirmed"] += confirmed
	}
	fmt.Fprintf(page, "all\t%d\t%d\t%d\t\t\t\t\t\t\t\n", all["faults"], all["claims"], all["confirmed"])
	_ = page.Flush() // to memory
	return text.String()
}
