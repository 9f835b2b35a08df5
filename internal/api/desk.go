package api

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// desk is what one claim needs while it is read and answered. The next claim finds it
// as it was left, so that most claims allocate nothing for it.
type desk struct {
	json   intake.JSON
	body   []byte
	answer []byte
}

// maxDeskBytes bounds what is kept for the next claim, in bytes of each buffer.
const maxDeskBytes = 64 << 10

// takeDesk gives a desk that nobody else has. Give it back.
func (a *API) takeDesk() *desk { return a.desks.Get().(*desk) }

// giveDesk takes it back. Nothing of it may be in use any more.
func (a *API) giveDesk(d *desk) {
	if cap(d.body) <= maxDeskBytes && cap(d.answer) <= maxDeskBytes {
		a.desks.Put(d)
	}
}

// read reads the body of a request into d.body.
func (d *desk) read(w http.ResponseWriter, r *http.Request) (err error) {
	body, err := readBody(w, r, d.body)
	if err == nil {
		d.body = body
	}
	return err
}

// appendProcessedLines adds the answer to a claim that was stored, or was there already:
// []ProcessedLine as reply would write it. It runs for every claim, so it is written out.
func appendProcessedLines(dst []byte, c *claim.Claim, firstLineID int64) []byte {
	id := c.ID.String()
	dst = append(dst, '[')
	for i := range c.Lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendInt(dst, firstLineID+int64(i), 10)
		dst = append(dst, `,"unique_claim_id":"`...)
		dst = append(dst, id...)
		dst = append(dst, `",`...)
		dst = appendLineFields(dst, &c.Lines[i])
		dst = append(dst, '}')
	}
	return append(dst, "]\n"...)
}

// appendLineFields adds the members of LineFields.
func appendLineFields(dst []byte, line *claim.Line) []byte {
	dst = line.ServiceDate.AppendRevealed(append(dst, `"service_date":"`...))
	dst = appendText(append(dst, `","submitted_procedure":`...), line.Procedure)
	dst = append(dst, `,"quadrant":`...)
	if line.Quadrant == "" {
		dst = append(dst, "null"...)
	} else {
		dst = appendText(dst, line.Quadrant)
	}
	dst = appendText(append(dst, `,"plan_group_number":`...), line.PlanGroupNumber)
	dst = appendText(append(dst, `,"subscriber_number":`...), line.SubscriberNumber.Reveal())
	dst = line.ProviderNPI.Append(append(dst, `,"provider_npi":"`...))
	dst = line.ProviderFees.Append(append(dst, `","provider_fees":"`...))
	dst = line.AllowedFees.Append(append(dst, `","allowed_fees":"`...))
	dst = line.MemberCoinsurance.Append(append(dst, `","member_coinsurance":"`...))
	dst = line.MemberCopay.Append(append(dst, `","member_copay":"`...))
	dst = line.NetFee().Append(append(dst, `","net_fee":"`...))
	return append(dst, '"')
}

// appendText adds a JSON string. A text of a claim is UTF-8 without control characters.
func appendText(dst []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := jsontext.AppendQuote(dst, text)
			if err != nil { // what is not UTF-8 was replaced
				return append(dst, `""`...)
			}
			return quoted
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
