package intake_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// A guarded text starts no formula, and every text comes back as it was, those included that
// look guarded by nature.
func TestGuard(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":            "",
		"GRP-1000":    "GRP-1000",
		"=1+1":        "'=1+1",
		"+49":         "'+49",
		"-5":          "'-5",
		"@SUM(A1)":    "'@SUM(A1)",
		"\t=1":        "'\t=1",
		"\r=1":        "'\r=1",
		"'":           "'",
		"'quoted'":    "'quoted'",
		"'=1+1":       "''=1+1",
		"''=1+1":      "'''=1+1",
		"Ä=1":         "Ä=1",
		"'' spaced =": "'' spaced =",
	} {
		if got := intake.Guard(text); got != want {
			t.Errorf("guard %q: got %q, want %q", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`'{0,3}[=+\-@\t\ra]?.{0,5}`)).Draw(t, "text")
		guarded := intake.Guard(text)
		if got := intake.Unguard(guarded); got != text {
			t.Errorf("guard and unguard %q: got %q", text, got)
		}
		if guarded != "" && strings.ContainsRune("=+-@\t\r", rune(guarded[0])) {
			t.Errorf("guard %q: got %q, which starts a formula", text, guarded)
		}
	})
}

// A claim of an export has its key in "claim_key"; what is known of it beside itself is passed over.
func TestClaimKeyOfAnExport(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]claim.Key{
		`{"claim_key": "idempotency:a:b", "stored": {"net_fee": "1.00"}, "lines": []}`: {Kind: claim.IdempotencyKey, Value: "a:b"},
		`{"claim_key": "", "lines": []}`:                                               {},
		`{"claim_key": null, "lines": []}`:                                             {},
		`{"lines": [], "stored": [[[1]]]}`:                                             {},
		`{"claim_key": "lost", "lines": []}`:                                           {Kind: "lost"},
		`{"claim_key": ":x", "lines": []}`:                                             {Kind: "unknown", Value: "x"},
		`{"claim_key": "x12:1*2*3*CLM", "lines": []}`:                                  {Kind: claim.X12Key, Value: "1*2*3*CLM"},
		`{"claim_key": "id:\u0030199", "lines": []}`:                                   {Kind: claim.IDKey, Value: "0199"},
		`{"external_claim_id": "7", "lines": []}`:                                      {},
		`{"lines": [], "claim_key": "file:ab:7"}`:                                      {Kind: claim.FileKey, Value: "ab:7"},
	} {
		draft, err := intake.ReadClaim([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if draft.Given != want {
			t.Errorf("%s: got key %+v, want %+v", text, draft.Given, want)
		}
	}
	for _, text := range []string{`{"claim_key": 7, "lines": []}`, `{"claim_key": "", "claim_key": "", "lines": []}`} {
		if draft, err := intake.ReadClaim([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, want it refused", text, draft)
		}
	}
}
