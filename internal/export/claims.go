package export

import (
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// Claims writes claims with their lines: in CSV a row for each line, in NDJSON an object for
// each claim. What a claim says, its number and its key among it, stands there as package intake
// reads it, so that an export is an import: into the same database of nothing new, into
// another of the same claims. The rest says how the claim stands here, and is not read. Errors: those
// of w and of records.
func Claims(w io.Writer, format Format, records iter.Seq2[store.Record, error]) error {
	return write(w, format, records, shape[store.Record]{
		header: claimHeader(),
		rows:   claimRows,
		object: func(record *store.Record) any { return newClaimObject(record) },
	})
}

// claimHeader names the columns. The id of the claim has its name of the brief: for a reader,
// claim_id is the sender's number.
func claimHeader() []string {
	header := []string{claim.ExternalIDField.String(), intake.ClaimKeyName, "unique_claim_id", "version", "line_id"}
	for field := claim.Field(0); int(field) < claim.FieldCount; field++ {
		header = append(header, field.String())
	}
	return append(header, "net_fee", "expected_plan_payment", "received_at", "status", "payment_state", "payment_id")
}

func claimRows(record *store.Record, row func(cells ...string) error) error {
	external, key, id := cell(record.ExternalID), cell(record.Key.Text(record.ClaimID)), record.ClaimID.String()
	version, received := strconv.Itoa(record.Version), moment(record.ReceivedAt)
	for i := range record.Lines {
		line := &record.Lines[i]
		if err := row(external, key, id, version, strconv.FormatInt(record.FirstLineID+int64(i), 10),
			line.ServiceDate.Reveal(), cell(line.Procedure), cell(line.Quadrant), cell(line.PlanGroupNumber),
			cell(line.SubscriberNumber.Reveal()), line.ProviderNPI.String(), line.ProviderFees.String(), line.AllowedFees.String(),
			line.MemberCoinsurance.String(), line.MemberCopay.String(), line.NetFee().String(), line.ExpectedPlanPayment().String(),
			received, string(record.Payment.State.Status()), string(record.Payment.State), paymentID(record)); err != nil {
			return err
		}
	}
	return nil
}

// paymentID gives the id of a claim's payment, "" where it is not paid.
func paymentID(record *store.Record) string {
	if record.Payment.State != store.PaymentPaid {
		return ""
	}
	return record.Payment.PaymentID.String()
}

// claimObject is a claim as a line of NDJSON.
type claimObject struct {
	ExternalClaimID *string      `json:"external_claim_id"`
	ClaimKey        string       `json:"claim_key"`
	Lines           []lineObject `json:"lines"`
	Stored          storedObject `json:"stored"`
}

// storedObject is how a claim stands.
type storedObject struct {
	ClaimID             string             `json:"claim_id"`
	Version             int                `json:"version"`
	NetFee              string             `json:"net_fee"`
	ExpectedPlanPayment string             `json:"expected_plan_payment"`
	ReceivedAt          time.Time          `json:"received_at"`
	Status              store.Status       `json:"status"`
	PaymentState        store.PaymentState `json:"payment_state"`
	PaymentID           string             `json:"payment_id,omitempty"`
}

// lineObject is a line.
type lineObject struct {
	ID                 int64   `json:"id"`
	ServiceDate        string  `json:"service_date"`
	SubmittedProcedure string  `json:"submitted_procedure"`
	Quadrant           *string `json:"quadrant"`
	PlanGroupNumber    string  `json:"plan_group_number"`
	SubscriberNumber   string  `json:"subscriber_number"`
	ProviderNPI        string  `json:"provider_npi"`
	ProviderFees       string  `json:"provider_fees"`
	AllowedFees        string  `json:"allowed_fees"`
	MemberCoinsurance  string  `json:"member_coinsurance"`
	MemberCopay        string  `json:"member_copay"`
	NetFee             string  `json:"net_fee"`
}

func newClaimObject(record *store.Record) *claimObject {
	object := &claimObject{
		ClaimKey: record.Key.Text(record.ClaimID),
		Lines:    make([]lineObject, len(record.Lines)),
		Stored: storedObject{
			ClaimID:             record.ClaimID.String(),
			Version:             record.Version,
			NetFee:              record.NetFee.String(),
			ExpectedPlanPayment: record.ExpectedPlanPayment.String(),
			ReceivedAt:          record.ReceivedAt,
			Status:              record.Payment.State.Status(),
			PaymentState:        record.Payment.State,
			PaymentID:           paymentID(record),
		},
	}
	if record.ExternalID != "" {
		object.ExternalClaimID = &record.ExternalID
	}
	for i := range record.Lines {
		line := &record.Lines[i]
		object.Lines[i] = lineObject{
			ID:                 record.FirstLineID + int64(i),
			ServiceDate:        line.ServiceDate.Reveal(),
			SubmittedProcedure: line.Procedure,
			PlanGroupNumber:    line.PlanGroupNumber,
			SubscriberNumber:   line.SubscriberNumber.Reveal(),
			ProviderNPI:        line.ProviderNPI.String(),
			ProviderFees:       line.ProviderFees.String(),
			AllowedFees:        line.AllowedFees.String(),
			MemberCoinsurance:  line.MemberCoinsurance.String(),
			MemberCopay:        line.MemberCopay.String(),
			NetFee:             line.NetFee().String(),
		}
		if line.Quadrant != "" {
			object.Lines[i].Quadrant = &line.Quadrant
		}
	}
	return object
}
