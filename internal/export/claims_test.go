package export_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// each gives the things, and then the error, if there is one.
func each[T any](err error, things ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, thing := range things {
			if !yield(thing, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// records are two claims as a store gives them: one that is paid, with hostile texts, and one
// in flight without number or key.
func records() []store.Record {
	date, _ := claim.ParseServiceDate("3/28/18 9:05")
	line := claim.Line{
		ServiceDate: date, Procedure: "D4346", PlanGroupNumber: "GRP-1000", SubscriberNumber: claim.NewSubscriberNumber("3730189502"),
		ProviderNPI: 1497775530, ProviderFees: 13000, AllowedFees: 6500, MemberCoinsurance: 1625,
	}
	odd := line
	odd.Quadrant, odd.PlanGroupNumber, odd.SubscriberNumber = "UR", `=1+1,"x"`, claim.NewSubscriberNumber("'@0012")
	odd.ProviderNPI, odd.AllowedFees = 6, 99_999_999_99
	at := time.Date(2026, 3, 28, 12, 0, 0, 123_456_000, time.UTC)
	return []store.Record{
		{
			Summary: store.Summary{
				ClaimID: uuid.MustParse("0199a1b2-7c1e-8d3a-9f4b-2a6c8e0d1f35"), Version: 1, ExternalID: "-CLM<1>", NetFee: 8125 + 14625 - 99_999_999_99,
				ExpectedPlanPayment: 4875 + 99_999_999_99 - 1625, ReceivedAt: at,
				Payment: store.Payment{State: store.PaymentPaid, PaymentID: uuid.MustParse("5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11")},
			},
			Key: claim.Key{Kind: claim.ExternalKey, Value: "-CLM<1>"}, FirstLineID: 7, Lines: []claim.Line{line, odd},
		},
		{
			Summary: store.Summary{
				ClaimID: uuid.MustParse("0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"), Version: 1, NetFee: 8125, ExpectedPlanPayment: 4875, ReceivedAt: at,
				Payment: store.Payment{State: store.PaymentFailed, Error: "no broker"},
			},
			FirstLineID: 9, Lines: []claim.Line{line},
		},
	}
}

// The file is what is promised, to the letter: a spreadsheet runs none of its cells, amounts stay
// numbers, and no claim has to be escaped for a web page.
func TestClaimsFile(t *testing.T) {
	t.Parallel()
	for format, want := range map[export.Format]string{
		export.CSV: "external_claim_id,claim_key,unique_claim_id,version,line_id,service_date,submitted_procedure,quadrant,plan_group_number," +
			"subscriber_number,provider_npi,provider_fees,allowed_fees,member_coinsurance,member_copay,net_fee,expected_plan_payment," +
			"received_at,status,payment_state,payment_id\n" +
			"'-CLM<1>,,0199a1b2-7c1e-8d3a-9f4b-2a6c8e0d1f35,1,7,2018-03-28T09:05:00,D4346,,GRP-1000,3730189502,1497775530," +
			"130.00,65.00,16.25,0.00,81.25,48.75,2026-03-28T12:00:00.123456Z,settled,paid,5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11\n" +
			`'-CLM<1>,,0199a1b2-7c1e-8d3a-9f4b-2a6c8e0d1f35,1,8,2018-03-28T09:05:00,D4346,UR,"'=1+1,""x""",''@0012,0000000006,` +
			"130.00,99999999.99,16.25,0.00,-99999853.74,99999983.74,2026-03-28T12:00:00.123456Z,settled,paid,5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11\n" +
			",id:0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35,0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35,1,9,2018-03-28T09:05:00,D4346,,GRP-1000,3730189502," +
			"1497775530,130.00,65.00,16.25,0.00,81.25,48.75,2026-03-28T12:00:00.123456Z,in_flight,failed_to_notify_payments,\n",
		export.NDJSON: `{"external_claim_id":"-CLM<1>","claim_key":"","lines":[` +
			`{"id":7,"service_date":"2018-03-28T09:05:00","submitted_procedure":"D4346","quadrant":null,"plan_group_number":"GRP-1000",` +
			`"subscriber_number":"3730189502","provider_npi":"1497775530","provider_fees":"130.00","allowed_fees":"65.00",` +
			`"member_coinsurance":"16.25","member_copay":"0.00","net_fee":"81.25"},` +
			`{"id":8,"service_date":"2018-03-28T09:05:00","submitted_procedure":"D4346","quadrant":"UR","plan_group_number":"=1+1,\"x\"",` +
			`"subscriber_number":"'@0012","provider_npi":"0000000006","provider_fees":"130.00","allowed_fees":"99999999.99",` +
			`"member_coinsurance":"16.25","member_copay":"0.00","net_fee":"-99999853.74"}],` +
			`"stored":{"claim_id":"0199a1b2-7c1e-8d3a-9f4b-2a6c8e0d1f35","version":1,"net_fee":"-99999772.49",` +
			`"expected_plan_payment":"100000032.49","received_at":"2026-03-28T12:00:00.123456Z","status":"settled","payment_state":"paid",` +
			`"payment_id":"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11"}}` + "\n" +
			`{"external_claim_id":null,"claim_key":"id:0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35","lines":[` +
			`{"id":9,"service_date":"2018-03-28T09:05:00","submitted_procedure":"D4346","quadrant":null,"plan_group_number":"GRP-1000",` +
			`"subscriber_number":"3730189502","provider_npi":"1497775530","provider_fees":"130.00","allowed_fees":"65.00",` +
			`"member_coinsurance":"16.25","member_copay":"0.00","net_fee":"81.25"}],` +
			`"stored":{"claim_id":"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35","version":1,"net_fee":"81.25","expected_plan_payment":"48.75",` +
			`"received_at":"2026-03-28T12:00:00.123456Z","status":"in_flight","payment_state":"failed_to_notify_payments"}}` + "\n",
	} {
		var got strings.Builder
		if err := export.Claims(&got, format, each(nil, records()...)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", format, diff)
		}
	}
}

// An error of the store comes out as it is, and so does one of the file; what is no format
// writes nothing.
func TestClaimsErrors(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	if err := export.Claims(&got, export.CSV, each(store.ErrUnavailable, records()...)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, store.ErrUnavailable)
	}
	if got.Len() > 0 {
		t.Errorf("got %q though less than a piece was there, want nothing yet", got.String())
	}
	if err := export.Claims(full{}, export.NDJSON, each(nil, records()...)); !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
	if err := export.Claims(&got, "xlsx", each(nil, records()...)); err == nil || got.Len() > 0 {
		t.Errorf("got %q, %v, want an error and nothing", got.String(), err)
	}
}

var errFull = errors.New("the disk is full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// What is exported is an import: into the same database of nothing new, into another of
// the same claims, whatever they say and whatever their key is. So a formula that was
// guarded comes back as it was.
func TestImportOfExport(t *testing.T) {
	t.Parallel()
	from, to := openStore(t), openStore(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		// Each round has claims and an hour of its own, and so sees none of the others.
		round++
		from.at = time.Date(2026, 1, 1, round, 0, 0, 0, time.UTC)
		to.at = from.at
		from.submit(t, drawDrafts(t, strconv.Itoa(round)))
		want := from.claims(t)
		for i, reader := range []struct {
			format export.Format
			drafts func(*rapid.T, []byte) []*claim.Draft
		}{{export.NDJSON, readNDJSON}, {export.CSV, readCSV}, {export.CSV, readPlainCSV}} {
			format, drafts := reader.format, reader.drafts
			var file bytes.Buffer
			if err := export.Claims(&file, format, from.Records(context.Background(), from.filter())); err != nil {
				t.Fatal(err)
			}
			if stored := from.submit(t, drafts(t, file.Bytes())); stored != 0 {
				t.Errorf("%s into the same database: got %d stored, want none", format, stored)
			}
			stored, before := to.submit(t, drafts(t, file.Bytes())), len(want)
			if i > 0 {
				before = 0 // the NDJSON was there already
			}
			if stored != before {
				t.Errorf("%s into another database: got %d stored, want %d", format, stored, before)
			}
			got := to.claims(t)
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(claim.ServiceDate{}, claim.SubscriberNumber{})); diff != "" {
				t.Errorf("%s: want -, got +:\n%s", format, diff)
			}
		}
	})
}

// base is a claims database.
type base struct {
	*sqlitestore.Store
	validator claim.Validator
	at        time.Time // of what is submitted
}

func openStore(t *testing.T) *base {
	t.Helper()
	opened, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "claims.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	secret, err := opened.IdentitySecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rules := claim.DefaultRules()
	rules.ProcedurePrefix = claim.Warning
	return &base{Store: opened, validator: claim.Validator{Rules: rules, Identity: claim.NewIdentity(secret), Now: time.Now}}
}

// filter selects what was submitted in this round.
func (b *base) filter() store.Filter { return store.Filter{From: b.at, To: b.at.Add(time.Hour)} }

// submit stores the claims, and says how many were new.
func (b *base) submit(t *rapid.T, drafts []*claim.Draft) (stored int) {
	batch := make([]store.Submission, len(drafts))
	for i, draft := range drafts {
		made, violations := b.validator.Validate(draft)
		if made == nil {
			t.Fatalf("not valid: %v", violations)
		}
		batch[i].Claim = made
	}
	if len(batch) == 0 {
		return 0
	}
	outcomes, err := b.Accept(context.Background(), batch, b.at)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	for _, outcome := range outcomes {
		if outcome.Err != nil {
			t.Fatal(outcome.Err)
		}
		if !outcome.Existing {
			stored++
		}
	}
	return stored
}

// said is what a claim says, and the name that it is known by.
type said struct {
	external string
	key      claim.Key
	lines    []claim.Line
	net      string
}

// Equal holds claims that had no key against those that came back by their id.
func (s said) Equal(other said) bool {
	return s.external == other.external && s.key == other.key && s.net == other.net &&
		cmp.Equal(s.lines, other.lines, cmpopts.EquateComparable(claim.ServiceDate{}, claim.SubscriberNumber{}))
}

func (b *base) claims(t *rapid.T) []said {
	var all []said
	for record, err := range b.Records(context.Background(), b.filter()) {
		if err != nil {
			t.Fatal(err)
		}
		if record.Key.Kind == claim.NoKey {
			record.Key.Kind, record.Key.Value = claim.IDKey, record.ClaimID.String()
		}
		all = append(all, said{record.ExternalID, record.Key, record.Lines, record.NetFee.String()})
	}
	return all
}

// readNDJSON reads an export as an import does.
func readNDJSON(t *rapid.T, file []byte) (drafts []*claim.Draft) {
	for text := range bytes.Lines(file) {
		draft, err := intake.ReadClaim(text)
		if err != nil {
			t.Fatal(err)
		}
		drafts = append(drafts, draft)
	}
	return drafts
}

// readCSV reads an export as an import does.
func readCSV(t *rapid.T, file []byte) (drafts []*claim.Draft) {
	reader, err := intake.NewCSV(bytes.NewReader(file), "")
	if err != nil {
		t.Fatal(err)
	}
	for {
		parcel, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return drafts
		}
		if err != nil || parcel.Draft == nil || len(parcel.Refused) > 0 {
			t.Fatalf("got %+v, %v", parcel, err)
		}
		drafts = append(drafts, parcel.Draft)
	}
}

// readPlainCSV reads an export by the rules that it promises, and with nobody's reader but the
// standard library's.
func readPlainCSV(t *rapid.T, file []byte) (drafts []*claim.Draft) {
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, row := range rows[1:] {
		line := claim.RawLine{Shape: claim.Object}
		draft := &claim.Draft{}
		for i, text := range row {
			raw := claim.Raw{Shape: claim.Text, Text: intake.Unguard(text)}
			if field, known := claim.FieldNamed(rows[0][i]); known {
				line.Fields[field] = raw
			}
			switch {
			case rows[0][i] == "external_claim_id" && text != "":
				draft.ExternalID = raw
			case rows[0][i] == "claim_key":
				draft.Given = claim.ParseKey(raw.Text)
			}
		}
		if id := row[2]; id != last {
			drafts, last = append(drafts, draft), id
		}
		drafts[len(drafts)-1].Lines = append(drafts[len(drafts)-1].Lines, line)
	}
	return drafts
}

// drawDrafts draws claims of all kinds of key, none of another round, and of texts that spreadsheets, CSV and JSON
// do something with.
func drawDrafts(t *rapid.T, round string) []*claim.Draft {
	hostile := rapid.OneOf(rapid.StringMatching(`['=+\-@]{0,3}[A-Za-z0-9 ,;"'=+<&\\ÄÖ歯]{0,10}[A-Za-z0-9"'=]`), rapid.SampledFrom([]string{
		"=cmd|' /C calc'!A0", "'=1", "''", "+49", "-5.00", "-5", "@x", `"`, `""`, "a,b", "null", "0012", `\.`, "1e5", "TRUE",
	}))
	text := func(s string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: s} }
	drafts := make([]*claim.Draft, rapid.IntRange(0, 6).Draw(t, "claims"))
	for i := range drafts {
		draft := &claim.Draft{}
		number := hostile.Draw(t, "number") + round + string(rune('a'+i))
		switch kind := rapid.SampledFrom([]string{"external", "idempotency", "file", "x12", "id", "none"}).Draw(t, "kind"); kind {
		case "external":
			draft.ExternalID = text(number)
		case "idempotency":
			draft.IdempotencyKey = number + ":=1"
		case "file":
			draft.Source = claim.Source{FileSHA256: strings.Repeat("ab", 30) + round, Row: i + 1}
		case "x12":
			draft.ExternalID, draft.Given = text(number), claim.Key{Kind: claim.X12Key, Value: "A*1*" + number}
		case "id":
			draft.Given = claim.Key{Kind: claim.IDKey, Value: uuid.Must(uuid.NewV7()).String()}
		}
		for range rapid.IntRange(1, 4).Draw(t, "lines") {
			line := claim.RawLine{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
				claim.ServiceDateField: text(time.Unix(rapid.Int64Range(-2e9, 7e9).Draw(t, "date"), 0).UTC().Format(time.DateTime)),
				claim.ProcedureField:   text(hostile.Draw(t, "procedure")),
				claim.PlanGroupField:   text(hostile.Draw(t, "group")),
				claim.SubscriberField:  text(hostile.Draw(t, "subscriber")),
				claim.ProviderNPIField: text(rapid.StringMatching(`[0-9]{10}`).Draw(t, "npi")),
			}}
			if rapid.Bool().Draw(t, "has a quadrant") {
				line.Fields[claim.QuadrantField] = text(rapid.StringMatching(`['=+\-@]{0,2}[A-Z0-9]{1,4}`).Draw(t, "quadrant"))
			}
			for _, field := range []claim.Field{claim.ProviderFeesField, claim.AllowedFeesField, claim.CoinsuranceField, claim.CopayField} {
				line.Fields[field] = text(rapid.StringMatching(`[0-9]{1,8}\.[0-9]{2}`).Draw(t, "amount"))
			}
			draft.Lines = append(draft.Lines, line)
		}
		drafts[i] = draft
	}
	return drafts
}
