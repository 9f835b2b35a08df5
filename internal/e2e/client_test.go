package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// What every claim of these tests carries, and nothing but claims may show.
const (
	subscriber  = "77-3419-0265"
	serviceDate = "11/23/87 04:56"
)

// form is a claim as its sender has it.
type form struct {
	key    claim.Key
	netFee money.Cents // over all lines, as the sender reckons it
	lines  []map[string]any
	parts  []money.Cents // the net fee of each line
}

// newForm makes a claim of one line for each net fee.
func newForm(kind claim.KeyKind, number string, netFees ...money.Cents) form {
	f := form{key: claim.Key{Submitter: claim.DefaultSubmitter, Kind: kind, Value: number}, parts: netFees}
	for i, netFee := range netFees {
		f.netFee += netFee
		const copay, coinsurance = 1500, 325
		fees, allowed := max(netFee, 0)+10_000, max(-netFee, 0)+10_000+copay+coinsurance
		f.lines = append(f.lines, map[string]any{
			"service_date":        serviceDate,
			"submitted_procedure": "D0180",
			"quadrant":            []any{"UR", "LL", nil}[i%3],
			"plan_group_number":   "GRP-1000",
			"subscriber_number":   subscriber,
			"provider_npi":        providers[i%len(providers)],
			"provider_fees":       "$" + fees.String(),
			"allowed_fees":        "$" + allowed.String(),
			"member_coinsurance":  money.Cents(coinsurance).String(),
			"member_copay":        "$" + money.Cents(copay).String() + " ",
		})
	}
	return f
}

var providers = [...]string{"1497775530", "1234567893", "1679576722"}

// randomForm makes a claim of one to four lines, some of which net to less than nothing.
func randomForm(random *rand.Rand, number string) form {
	kind := claim.ExternalKey
	if random.IntN(2) == 0 {
		kind = claim.IdempotencyKey
	}
	netFees := make([]money.Cents, 1+random.IntN(4))
	for i := range netFees {
		netFees[i] = money.Cents(random.IntN(500_000) - 50_000)
	}
	return newForm(kind, number, netFees...)
}

// other gives another claim under the same key.
func (f form) other() form { return newForm(f.key.Kind, f.key.Value, f.netFee+1) }

// answer is a response, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the body; what can not be read leaves into empty.
func (a answer) decode(into any) { _ = json.Unmarshal(a.body, into) }

// errHalf marks a response that began and did not end.
var errHalf = errors.New("half an answer")

// call makes one request.
func (s *system) call(url, method, path string, header http.Header, body any) (answer, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url+path, content)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(request.Header, header)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errHalf, err)
	}
	return answer{response.StatusCode, response.Header, text}, nil
}

// post sends a claim, to the endpoint that takes its kind of key.
func (s *system) post(url string, f form) (answer, error) {
	if f.key.Kind == claim.ExternalKey {
		return s.call(url, http.MethodPost, "/v1/claims", nil, map[string]any{"external_claim_id": f.key.Value, "lines": f.lines})
	}
	return s.call(url, http.MethodPost, "/claim-process", http.Header{"Idempotency-Key": {f.key.Value}}, f.lines)
}

// receipt reads the answer to a claim that was taken.
func (f form) receipt(a answer) (claimID string, netFee money.Cents, err error) {
	if f.key.Kind == claim.ExternalKey {
		var stored claimBody
		err = json.Unmarshal(a.body, &stored)
		return stored.ClaimID, stored.NetFee, err
	}
	var lines []struct {
		ClaimID string      `json:"unique_claim_id"`
		NetFee  money.Cents `json:"net_fee"`
	}
	if err = json.Unmarshal(a.body, &lines); err != nil {
		return "", 0, err
	}
	if len(lines) != len(f.lines) {
		return "", 0, fmt.Errorf("got %d lines, want %d", len(lines), len(f.lines))
	}
	for _, line := range lines {
		netFee += line.NetFee
		if line.ClaimID != lines[0].ClaimID {
			return "", 0, errors.New("the lines are of more than one claim")
		}
	}
	return lines[0].ClaimID, netFee, nil
}

// claimBody is what these tests read of a claim.
type claimBody struct {
	ClaimID string      `json:"claim_id"`
	NetFee  money.Cents `json:"net_fee"`
	Status  string      `json:"status"`
	Payment struct {
		State    string    `json:"state"`
		Gen      int       `json:"gen"`
		Attempts int       `json:"attempts"`
		Error    string    `json:"error"`
		Next     time.Time `json:"next_attempt_at"`
	} `json:"payment"`
}

// get reads a path of the server that runs, and wants an answer.
func (s *system) get(path string) answer {
	s.Helper()
	a, err := s.call(s.server.url, http.MethodGet, path, nil, nil)
	if err != nil {
		s.Fatalf("GET %s: %v", path, err)
	}
	return a
}

// show reads one claim.
func (s *system) show(claimID string) (c claimBody) {
	s.Helper()
	a := s.get("/v1/claims/" + claimID)
	if a.status != http.StatusOK {
		s.Fatalf("show claim %s: got %d: %s", claimID, a.status, a.body)
	}
	a.decode(&c)
	return c
}

// list reads up to 200 claims that the query selects.
func (s *system) list(query string) []claimBody {
	s.Helper()
	a := s.get("/v1/claims?limit=200&" + query)
	if a.status != http.StatusOK {
		s.Fatalf("list claims with %s: got %d: %s", query, a.status, a.body)
	}
	var page struct {
		Claims []claimBody `json:"claims"`
	}
	a.decode(&page)
	return page.Claims
}
