package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
)

// example is the message of testdata/claim_accepted_v1.json. The hash in that file
// was computed by another program from the words of ClaimAccepted.Hash.
func example() event.ClaimAccepted {
	return event.ClaimAccepted{
		Ref: event.Ref{
			Key: event.Key{ClaimID: uuid.MustParse("0190b5a2-7c1e-7d3a-9f4b-2a6c8e0d1f35"), Version: 2},
			Gen: 3,
		},
		NetFee: 11685,
		Postings: []event.Posting{
			{ProviderNPI: "1497775530", NetFee: 12085},
			{ProviderNPI: "1999999984", NetFee: -400},
		},
		AcceptedAt:  time.Date(2026, 3, 28, 12, 0, 0, 123_456_000, time.UTC),
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// golden reads the bytes of version 1.
func golden(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "claim_accepted_v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The bytes of version 1 stay what they are, both ways: two versions of the
// program that run at once must agree on them.
func TestClaimAcceptedGolden(t *testing.T) {
	t.Parallel()
	sent := example()
	sent.AcceptedAt = sent.AcceptedAt.Add(789 * time.Nanosecond).In(time.FixedZone("", -5*3600)) // the wire has UTC microseconds
	text, err := sent.Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	if got, want := string(text), string(golden(t)); got != want {
		t.Errorf("body:\n got %s\nwant %s", got, want)
	}
	read, err := event.Unmarshal(golden(t))
	if err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	if diff := cmp.Diff(read, example()); diff != "" {
		t.Errorf("message: got -, want +:\n%s", diff)
	}
	if got, want := read.MessageID(), "0190b5a2-7c1e-7d3a-9f4b-2a6c8e0d1f35.2.3"; got != want {
		t.Errorf("message id: got %s, want %s", got, want)
	}
}

// A message has these fields and no other, so that nobody adds PHI to it unseen.
func TestClaimAcceptedFields(t *testing.T) {
	t.Parallel()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(golden(t), &fields); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(fields))
	want := []string{"accepted_at", "claim_id", "gen", "hash", "net_fee_cents", "postings", "schema", "traceparent", "version"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields on the wire: got -, want +:\n%s", diff)
	}
	var names []string
	for _, kind := range []reflect.Type{reflect.TypeFor[event.ClaimAccepted](), reflect.TypeFor[event.Posting]()} {
		for _, field := range reflect.VisibleFields(kind) {
			names = append(names, field.Name)
		}
	}
	want = []string{
		"Ref", "Key", "ClaimID", "Version", "Gen", "NetFee", "Postings", "AcceptedAt", "Traceparent",
		"ProviderNPI", "NetFee",
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(names, want); diff != "" {
		t.Errorf("fields in Go: got -, want +:\n%s", diff)
	}
}

// Whoever changes what is to be paid, or the shape, is found out; and the claim is
// still told where the body tells it.
func TestUnmarshalRefusesTampering(t *testing.T) {
	t.Parallel()
	const id = "0190b5a2-7c1e-7d3a-9f4b-2a6c8e0d1f35"
	for _, change := range []struct{ old, new string }{
		{`"schema":1`, `"schema":2`},
		{`"schema":1,`, ``},
		{id, "0190b5a2-7c1e-7d3a-9f4b-2a6c8e0d1f36"},
		{id, "00000000-0000-0000-0000-000000000000"},
		{id, "claim 7"},
		{`"version":2`, `"version":3`},
		{`"version":2`, `"version":0`},
		{`"version":2`, `"version":-2`},
		{`"version":2`, `"version":"2"`},
		{`"gen":3`, `"gen":-1`},
		{`"net_fee_cents":11685`, `"net_fee_cents":11686`},
		{`"net_fee_cents":11685`, `"net_fee_cents":116.85`},
		{`"net_fee_cents":11685`, `"net_fee_cents":99999999999999999999`},
		{`"cents":12085`, `"cents":12086`},
		{`11685,"postings":[{"npi":"1497775530","cents":12085`, `11686,"postings":[{"npi":"1497775530","cents":12086`}, // sum still right
		{`12085},{"npi":"1999999984","cents":-400`, `12084},{"npi":"1999999984","cents":-399`},                         // total still right
		{`"cents":12085`, `"cents":9223372036854775807`},
		{`1497775530`, `1497775531`},
		{`1497775530`, `1999999984`}, // twice the same
		{`1999999984`, `1111111112`}, // not ascending
		{`,{"npi":"1999999984","cents":-400}`, ``},
		{`{"npi":"1497775530","cents":12085},{"npi":"1999999984","cents":-400}`, ``},
		{`"hash":"aac0`, `"hash":"bac0`},
		{`"hash":"aac0`, `"hash":"AAC0`},
		{`"accepted_at":"2026`, `"accepted_at":"in 2026`},
		{`{"schema"`, `[{"schema"`},
		{`-01"}`, `-01"`},
		{`-01"}`, `-01"} {}`},
		{`-01"}`, `-01"} x`},
		{`-01"}`, strings.Repeat("x", event.MaxBodyBytes) + `"}`},
	} {
		text := strings.Replace(string(golden(t)), change.old, change.new, 1)
		if text == string(golden(t)) {
			t.Fatalf("%s is not in the golden", change.old)
		}
		got, err := event.Unmarshal([]byte(text))
		if !errors.Is(err, event.ErrMalformed) {
			t.Errorf("%.80s for %s: got %v, want %v", change.new, change.old, err, event.ErrMalformed)
		}
		if strings.HasPrefix(change.old, `"cents"`) && got.Ref != example().Ref {
			t.Errorf("%s for %s: got ref %v, want %v", change.new, change.old, got.Ref, example().Ref)
		}
	}
}

// What tells the copies of a message apart is not part of what is paid: another
// generation, time or trace leaves the hash as it was.
func TestHashIsOfContentOnly(t *testing.T) {
	t.Parallel()
	first, resent := example(), example()
	resent.Gen, resent.AcceptedAt, resent.Traceparent = 9, time.Time{}, ""
	if first.Hash() != resent.Hash() {
		t.Error("hash differs between generations of one message")
	}
	for name, change := range map[string]func(*event.ClaimAccepted){
		"claim":    func(e *event.ClaimAccepted) { e.ClaimID[15]++ },
		"version":  func(e *event.ClaimAccepted) { e.Version++ },
		"net fee":  func(e *event.ClaimAccepted) { e.NetFee = -e.NetFee },
		"provider": func(e *event.ClaimAccepted) { e.Postings[0].ProviderNPI = "1497775531" },
		"amount":   func(e *event.ClaimAccepted) { e.Postings[1].NetFee++ },
		"order":    func(e *event.ClaimAccepted) { slices.Reverse(e.Postings) },
		"fewer":    func(e *event.ClaimAccepted) { e.Postings = e.Postings[:1] },
	} {
		other := example()
		change(&other)
		if other.Hash() == first.Hash() {
			t.Errorf("hash does not tell another %s", name)
		}
	}
}

// The largest claim fits into a message, with room to spare for larger amounts.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	largest := event.ClaimAccepted{Ref: example().Ref, AcceptedAt: example().AcceptedAt}
	for i := range event.MaxPostings {
		largest.Postings = append(largest.Postings, event.Posting{ProviderNPI: fmt.Sprintf("1%09d", i), NetFee: -money.MaxParsed})
		largest.NetFee -= money.MaxParsed
	}
	text, err := largest.Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	if len(text) > event.MaxBodyBytes/2 {
		t.Errorf("body: got %d bytes, want at most %d", len(text), event.MaxBodyBytes/2)
	}
	if _, err := event.Unmarshal(text); err != nil {
		t.Errorf("unmarshal: %v", err)
	}
	largest.Postings = append(largest.Postings, event.Posting{ProviderNPI: "2000000000"})
	if text, err = largest.Marshal(); err != nil {
		t.Fatalf("marshal: %v", err)
	}
	if _, err := event.Unmarshal(text); !errors.Is(err, event.ErrMalformed) {
		t.Errorf("unmarshal of one posting too many: got %v, want %v", err, event.ErrMalformed)
	}
	largest.Traceparent = strings.Repeat("0", event.MaxBodyBytes)
	if _, err := largest.Marshal(); !errors.Is(err, event.ErrMalformed) {
		t.Errorf("marshal of a body too large: got %v, want %v", err, event.ErrMalformed)
	}
}

// message draws any message that claim-process may send.
func message(t *rapid.T) event.ClaimAccepted {
	e := event.ClaimAccepted{
		Ref: event.Ref{
			Key: event.Key{
				ClaimID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "claim")),
				Version: rapid.IntRange(1, 1<<30).Draw(t, "version"),
			},
			Gen: rapid.IntRange(0, 1<<30).Draw(t, "gen"),
		},
		AcceptedAt:  time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "accepted")).UTC(),
		Traceparent: rapid.StringMatching(`(00-[0-9a-f]{32}-[0-9a-f]{16}-01)?`).Draw(t, "trace"),
	}
	e.ClaimID[6] |= 0x80 // never the nil id
	npis := rapid.SliceOfNDistinct(rapid.IntRange(1_000_000_000, 2_999_999_999), 1, 20, rapid.ID).Draw(t, "providers")
	slices.Sort(npis)
	for _, npi := range npis {
		cents := money.Cents(rapid.Int64Range(-int64(money.MaxParsed), int64(money.MaxParsed)).Draw(t, "cents"))
		e.Postings = append(e.Postings, event.Posting{ProviderNPI: fmt.Sprint(npi), NetFee: cents})
		e.NetFee += cents
	}
	return e
}

// Every message is read as it was written.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sent := message(t)
		text, err := sent.Marshal()
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		if bytes.ContainsAny(text, "\n\r") {
			t.Errorf("body has more than one line: %s", text)
		}
		got, err := event.Unmarshal(text)
		if err != nil {
			t.Fatalf("unmarshal: %v", err)
		}
		if diff := cmp.Diff(got, sent); diff != "" {
			t.Errorf("message: got -, want +:\n%s", diff)
		}
	})
}

// A body cut short anywhere, or with any bit of it flipped, is refused or says the
// same of what is to be paid: nothing else can become of it.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	text := golden(t)
	want := example()
	for i := range text {
		if _, err := event.Unmarshal(text[:i]); !errors.Is(err, event.ErrMalformed) {
			t.Errorf("cut at %d: got %v, want %v", i, err, event.ErrMalformed)
		}
		for bit := range 8 {
			damaged := bytes.Clone(text)
			damaged[i] ^= 1 << bit
			got, err := event.Unmarshal(damaged)
			if err == nil && got.Hash() != want.Hash() {
				t.Errorf("bit %d of byte %d: got another message: %s", bit, i, damaged)
			}
			if err != nil && !errors.Is(err, event.ErrMalformed) {
				t.Errorf("bit %d of byte %d: got %v, want %v", bit, i, err, event.ErrMalformed)
			}
		}
	}
}

// FuzzUnmarshal proves that no body does harm: it is malformed, or it keeps all
// rules and says the same when it is written again.
func FuzzUnmarshal(f *testing.F) {
	f.Add(golden(f))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"schema":1,"claim_id":null,"postings":[null]}`))
	f.Add([]byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := event.Unmarshal(text)
		if err != nil {
			if !errors.Is(err, event.ErrMalformed) {
				t.Errorf("got %v, want %v", err, event.ErrMalformed)
			}
			return
		}
		if got.ClaimID == uuid.Nil || got.Version < 1 || got.Gen < 0 || len(got.Postings) < 1 || len(got.Postings) > event.MaxPostings {
			t.Errorf("message breaks its rules: %+v", got)
		}
		got.AcceptedAt, got.Traceparent = time.Time{}, "" // their text can grow when written
		again, err := got.Marshal()
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		same, err := event.Unmarshal(again)
		if err != nil {
			t.Fatalf("unmarshal again: %v", err)
		}
		if diff := cmp.Diff(same, got); diff != "" {
			t.Errorf("message: got -, want +:\n%s", diff)
		}
	})
}
