package checker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/checker"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// sent is a claim as a client knows it.
type sent struct {
	key    claim.Key
	netFee money.Cents
}

func newSent(kind claim.KeyKind, number string, netFee money.Cents) sent {
	return sent{claim.Key{Submitter: claim.DefaultSubmitter, Kind: kind, Value: number}, netFee}
}

// other gives another claim under the same key.
func (s sent) other() sent { return sent{s.key, s.netFee + 1} }

// The checker lets a sound line pass, doubt included, and finds every way in which a line
// can be unsound.
func TestChecker(t *testing.T) {
	t.Parallel()
	one, two := newSent(claim.ExternalKey, "one", 100), newSent(claim.IdempotencyKey, "two", 200)
	doubt, denied := newSent(claim.ExternalKey, "doubt", 300), newSent(claim.ExternalKey, "denied", 400)
	discarded := newSent(claim.ExternalKey, "discarded", 500)
	told := func(f sent) checker.Receipt {
		return checker.Receipt{ClaimID: "id of " + f.key.Value, NetFee: f.netFee}
	}
	kept := func(f sent) checker.Stored { return checker.Stored{Key: f.key, Receipt: told(f)} }
	heard := func() *checker.History {
		h := checker.NewHistory()
		for _, f := range []sent{one, one, two, doubt, discarded} {
			h.Conclude(h.Attempt(f.key, f.netFee), f.key, f.netFee, map[bool]checker.Verdict{true: checker.Unknown, false: checker.Acknowledged}[f.key == doubt.key], told(f))
		}
		for _, f := range []sent{denied, one.other()} {
			h.Conclude(h.Attempt(f.key, f.netFee), f.key, f.netFee, checker.Refused, checker.Receipt{})
		}
		h.WriteOff(discarded.key)
		return h
	}
	soundClaims := []checker.Stored{kept(one), kept(two), kept(doubt), kept(discarded)}
	soundPaid := []checker.Receipt{told(one), told(two), told(doubt)}
	without := func(i int) []checker.Stored { return slices.Delete(slices.Clone(soundClaims), i, i+1) }
	for _, tt := range []struct {
		name   string
		stored []checker.Stored
		paid   []checker.Receipt
		want   []string
	}{
		{"sound", soundClaims, soundPaid, nil},
		{"sound, and what was in doubt is not there", without(2), soundPaid[:2], nil},
		{"lost before it was stored", without(0), soundPaid[1:], []string{checker.Lost}},
		{"lost on the way to payments", soundClaims, soundPaid[1:], []string{checker.Lost}},
		{"paid, and then lost", without(0), soundPaid, []string{checker.Lost, checker.Unexpected}},
		{"stored twice", append(slices.Clone(soundClaims), kept(one)), soundPaid, []string{checker.Duplicated}},
		{"paid twice", soundClaims, append(slices.Clone(soundPaid), told(two)), []string{checker.Duplicated}},
		{"refused, and stored", append(slices.Clone(soundClaims), kept(denied)), append(slices.Clone(soundPaid), told(denied)), []string{checker.Unexpected}},
		{"never sent", append(slices.Clone(soundClaims), checker.Stored{Key: claim.Key{Value: "x"}, Receipt: checker.Receipt{ClaimID: "x", NetFee: 1}}), soundPaid, []string{checker.Unexpected}},
		{"paid, and not stored", soundClaims, append(slices.Clone(soundPaid), checker.Receipt{ClaimID: "x", NetFee: 1}), []string{checker.Unexpected}},
		{"written off, and paid", soundClaims, append(slices.Clone(soundPaid), told(discarded)), []string{checker.Unexpected}},
		{"stored another amount", append(without(0), checker.Stored{Key: one.key, Receipt: checker.Receipt{ClaimID: "id of one", NetFee: 101}}), append(slices.Clone(soundPaid[1:]), checker.Receipt{ClaimID: "id of one", NetFee: 101}), []string{checker.WrongAmount}},
		{"stored another amount in doubt", append(without(2), checker.Stored{Key: doubt.key, Receipt: checker.Receipt{ClaimID: "id of doubt", NetFee: 301}}), append(slices.Clone(soundPaid[:2]), checker.Receipt{ClaimID: "id of doubt", NetFee: 301}), []string{checker.WrongAmount}},
		{"paid another amount", soundClaims, append(slices.Clone(soundPaid[1:]), checker.Receipt{ClaimID: "id of one", NetFee: 99}), []string{checker.WrongAmount}},
	} {
		var got []string
		for _, f := range heard().Check(tt.stored, tt.paid) {
			got = append(got, f.Kind)
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", tt.name, diff)
		}
	}
	h, changed := heard(), two
	changed.netFee++ // and the answer tells another claim than the one before
	h.Conclude(h.Attempt(changed.key, changed.netFee), changed.key, changed.netFee, checker.Acknowledged, told(changed))
	if found := h.Check(soundClaims, soundPaid); len(found) != 1 || found[0].Kind != checker.Duplicated || !strings.Contains(found[0].Text, "2 different claims") {
		t.Errorf("two claims under one key: got %v, want one finding", found)
	}
}

// What an import has counted is acknowledged: it has to be there, though its id was not told.
func TestCheckerOfImports(t *testing.T) {
	t.Parallel()
	counted, only := newSent(claim.ExternalKey, "counted", 100), newSent(claim.ExternalKey, "only sent", 200)
	h := checker.NewHistory()
	h.Attempt(counted.key, counted.netFee)
	h.Attempt(only.key, only.netFee)
	h.Count(counted.key)
	if found := h.Check(nil, nil); len(found) != 1 || found[0].Kind != checker.Lost {
		t.Errorf("not stored: got %v, want one lost", found)
	}
	paid := checker.Receipt{ClaimID: "id", NetFee: counted.netFee}
	if found := h.Check([]checker.Stored{{Key: counted.key, Receipt: paid}}, []checker.Receipt{paid}); len(found) != 0 {
		t.Errorf("stored and paid: got %v, want nothing", found)
	}
	if claims, confirmed, _ := h.Figures(); claims != 2 || confirmed != 1 {
		t.Errorf("got %d claims, %d acknowledged, want 2 and 1", claims, confirmed)
	}
}

// What is told while the power is cut, or was asked before that, binds nobody; what was told
// before binds as ever.
func TestCheckerOverPowerCut(t *testing.T) {
	t.Parallel()
	before, late, during := newSent(claim.ExternalKey, "before", 100), newSent(claim.ExternalKey, "late", 200), newSent(claim.ExternalKey, "during", 300)
	h := checker.NewHistory()
	h.Conclude(h.Attempt(before.key, before.netFee), before.key, before.netFee, checker.Acknowledged, checker.Receipt{ClaimID: "before", NetFee: 100})
	era := h.Attempt(late.key, late.netFee)
	h.Seal()
	h.Conclude(h.Attempt(during.key, during.netFee), during.key, during.netFee, checker.Acknowledged, checker.Receipt{ClaimID: "during", NetFee: 300})
	h.Unseal()
	h.Conclude(era, late.key, late.netFee, checker.Acknowledged, checker.Receipt{ClaimID: "late", NetFee: 200})
	h.Check(nil, nil)
	if diff := cmp.Diff(map[string]int{checker.Lost: 1}, h.Found()); diff != "" {
		t.Errorf("nothing is stored: want -, got +:\n%s", diff)
	}
}

// What was never checked is told apart from what was found well, and a check holds only until a claim is
// sent again.
func TestCheckerFoundOnlyWhatItChecked(t *testing.T) {
	t.Parallel()
	h := checker.NewHistory()
	if got := h.Found(); got != nil {
		t.Errorf("before any check: got %v, want nil", got)
	}
	if h.Check(nil, nil); h.Found() == nil {
		t.Error("after a check: got nil, want that nothing was found")
	}
	one := newSent(claim.ExternalKey, "one", 100)
	h.Attempt(one.key, one.netFee)
	if got := h.Found(); got != nil {
		t.Errorf("a claim was sent after the check: got %v, want nil", got)
	}
}
