package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
)

// Health data that was put into a field of something else is not sent back, whichever field that is;
// what is no health data is, since it says what is wrong.
func TestInputIsNoHealthData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const number, date = "8730184502", "7/28/18 4:30"
	for field := claim.Field(0); int(field) < claim.FieldCount; field++ {
		for _, value := range []string{number, "X" + number, date, "2018-07-28", "28 Jul 18", strings.ReplaceAll(line(), `"`, `\"`), number + `\u0000`, date + `\u0000`} {
			bad := line(fmt.Sprintf(`"%s": "%s"`, field, value), `"member_copay": "many"`)
			for path, body := range map[string]string{"/claim-process": "[" + bad + "]", "/v1/claims": claimOf("C-1", bad)} {
				got := b.want(b.send(http.MethodPost, path, body), 422)
				for _, secret := range []string{"87301", "84502", "/28", "28/", "07-28", "28 ", "37301"} {
					if strings.Contains(got.body, secret) {
						t.Errorf("%s as %s to %s: %s is in %s", value, field, path, secret, got.body)
					}
				}
			}
		}
	}
	for _, path := range []string{"/v1/claims?provider_npi=" + number + "7", "/v1/claims?" + number + "=1", "/v1/claims?status=" + number} {
		if got := b.want(b.send(http.MethodGet, path, ""), 422); strings.Contains(got.body, "87301") {
			t.Errorf("%s: got %s", path, got.body)
		}
	}
	for change, want := range map[string]string{
		`"submitted_procedure": "Z0180"`: `"input":"Z0180"`, `"provider_fees": -5`: `"input":-5`, `"quadrant": true`: `"input":true`,
		`"provider_npi": 149777553`: `"input":"999999999"`,
	} {
		if got := b.want(b.send(http.MethodPost, "/claim-process", "["+line(change)+"]"), 422); !strings.Contains(got.body, want) {
			t.Errorf("%s: got %s, want %s in it", change, got.body, want)
		}
	}
}
