package verify

import (
	"context"

	"github.com/claimrail/claimrail/internal/store"
)

// checkImports checks that of every import that has ended each claim and each line met one
// fate, and that what all imports count as stored is not more than what there is: other
// claims came by other ways. A dry run stores nothing.
func (a *audit) checkImports(ctx context.Context, claims store.Snapshot) error {
	check := &a.checks[imports]
	var accepted struct{ claims, lines int64 }
	for i, err := range claims.Imports(ctx) {
		if err != nil {
			return err
		}
		a.counts.imports++
		if i.State.Ended() && !check.holds(addsUp(i.Claims) && addsUp(i.Lines)) {
			check.breach("import %s, %s: of %d claims %d accepted, %d duplicate, %d rejected; of %d lines %d, %d, %d", i.ID, i.State,
				i.Claims.Read, i.Claims.Accepted, i.Claims.Duplicate, i.Claims.Rejected,
				i.Lines.Read, i.Lines.Accepted, i.Lines.Duplicate, i.Lines.Rejected)
		}
		if !i.DryRun {
			accepted.claims += i.Claims.Accepted
			accepted.lines += i.Lines.Accepted
		}
	}
	if a.counts.imports == 0 {
		return nil
	}
	if !check.holds(accepted.claims <= int64(a.counts.claims) && accepted.lines <= int64(a.counts.lines)) {
		check.breach("all imports together accepted %d claims and %d lines, there are %d and %d",
			accepted.claims, accepted.lines, a.counts.claims, a.counts.lines)
	}
	return nil
}

// addsUp tells whether everything that was read met one fate. The counts are not negative,
// or else nothing adds up.
func addsUp(f store.Fates) bool {
	return min(f.Accepted, f.Duplicate, f.Rejected) >= 0 && f.Accepted+f.Duplicate+f.Rejected == f.Read
}
