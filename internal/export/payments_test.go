package export_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
)

// The files of payments and of dead letters are what is promised, to the letter; what an
// operator or a message said is guarded like all text.
func TestPaymentFiles(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	key := event.Key{ClaimID: uuid.MustParse("0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"), Version: 1}
	paid := payment.Payment{
		Cursor: 3, Key: key, ID: uuid.MustParse("5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11"), NetFee: -3, RecordedAt: at,
		Postings: []event.Posting{{ProviderNPI: "0000000006", NetFee: 8125}, {ProviderNPI: "1497775530", NetFee: -8128}},
	}
	open := payment.DeadLetter{ID: 7, MessageID: "=x", Reason: payment.ReasonMalformed, Error: "@not JSON", ParkedAt: at, State: payment.LetterOpen}
	closed := payment.DeadLetter{
		ID: 8, MessageID: key.String() + ".0", Ref: event.Ref{Key: key}, NetFee: 8125, Providers: []string{"0000000006", "1497775530"},
		Reason: payment.ReasonFailed, Error: "<away>,\n\"off\"", Attempts: 8, ParkedAt: at, State: payment.LetterDiscarded,
		Closing: payment.Decision{Actor: "@dana", Reason: "-", At: at},
	}
	for _, test := range []struct {
		name, want string
		write      func(w *strings.Builder) error
	}{
		{
			"payments, CSV", "payment_id,claim_id,version,recorded_at,net_fee,provider_npi,provider_net_fee\n" +
				"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11,0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35,1,2026-03-28T12:00:00Z,-0.03,0000000006,81.25\n" +
				"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11,0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35,1,2026-03-28T12:00:00Z,-0.03,1497775530,-81.28\n",
			func(w *strings.Builder) error { return export.Payments(w, export.CSV, each(nil, paid)) },
		},
		{
			"payments, NDJSON", `{"payment_id":"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11","claim_id":"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35","version":1,` +
				`"recorded_at":"2026-03-28T12:00:00Z","net_fee":"-0.03","postings":[{"provider_npi":"0000000006","net_fee":"81.25"},` +
				`{"provider_npi":"1497775530","net_fee":"-81.28"}]}` + "\n",
			func(w *strings.Builder) error { return export.Payments(w, export.NDJSON, each(nil, paid)) },
		},
		{
			"dead letters, CSV", "id,message_id,claim_id,version,net_fee,provider_npis,reason,error,attempts,parked_at,state,closed_by,closed_why,closed_at\n" +
				"7,'=x,,,0.00,,malformed,'@not JSON,0,2026-03-28T12:00:00Z,open,,,\n" +
				"8,0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35.1.0,0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35,1,81.25,0000000006 1497775530,failed," +
				"\"<away>,\n\"\"off\"\"\",8,2026-03-28T12:00:00Z,discarded,'@dana,'-,2026-03-28T12:00:00Z\n",
			func(w *strings.Builder) error { return export.DeadLetters(w, export.CSV, each(nil, open, closed)) },
		},
		{
			"dead letters, NDJSON", `{"id":7,"message_id":"=x","net_fee":"0.00","reason":"malformed","error":"@not JSON","attempts":0,` +
				`"parked_at":"2026-03-28T12:00:00Z","state":"open"}` + "\n" +
				`{"id":8,"message_id":"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35.1.0","claim_id":"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35","version":1,` +
				`"net_fee":"81.25","provider_npis":["0000000006","1497775530"],"reason":"failed","error":"<away>,\n\"off\"","attempts":8,` +
				`"parked_at":"2026-03-28T12:00:00Z","state":"discarded","closed_by":"@dana","closed_why":"-","closed_at":"2026-03-28T12:00:00Z"}` + "\n",
			func(w *strings.Builder) error { return export.DeadLetters(w, export.NDJSON, each(nil, open, closed)) },
		},
	} {
		var got strings.Builder
		if err := test.write(&got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got.String()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", test.name, diff)
		}
	}
}
