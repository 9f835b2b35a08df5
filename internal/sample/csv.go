package sample

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/claimrail/claimrail/internal/claim"
)

// Header is how a CSV file names its columns.
type Header string

// Headers.
const (
	PlainHeader Header = "plain" // the names of the fields
	BriefHeader Header = "brief" // as spreadsheets have them: line breaks inside, # for number, capitals here and there
)

// headers are the rows. The line number stands for the columns that real exports have
// and nobody reads.
var headers = map[Header]string{
	PlainHeader: "claim_number,line_number,service_date,submitted_procedure,quadrant,plan_group_number,subscriber_number," +
		"provider_npi,provider_fees,allowed_fees,member_coinsurance,member_copay\n",
	BriefHeader: "claim #,line #,service date,\"submitted \nprocedure\",quadrant,\"Plan/\nGroup #\",Subscriber#,\"Provider\n NPI\"," +
		"\"provider\n fees\",\"Allowed\n fees\",\"member \ncoinsurance\",\"member\n copay\"\n",
}

// WriteCSV writes a row for each line, dates and amounts in the brief's form
// ("03/28/18 00:00", "$81.25"). Errors: a header that there is not, that of ctx, and
// those of w.
func (s *Sample) WriteCSV(ctx context.Context, w io.Writer, header Header) (Tally, error) {
	head, ok := headers[header]
	if !ok {
		return Tally{}, fmt.Errorf("write a sample: header %q is unknown; it must be %s or %s", header, PlainHeader, BriefHeader)
	}
	return s.write(ctx, w, []byte(head), appendRows, nil)
}

// appendRows appends the rows of a claim. No cell needs quotes.
func appendRows(dst []byte, c *Claim) []byte {
	for i := range c.Lines {
		l, bad := &c.Lines[i], c.spoils(i)
		dst = append(append(dst, c.ExternalID...), ',')
		dst = append(strconv.AppendInt(dst, int64(i+1), 10), ',')
		dst = append(appendSlashedDate(dst, bad, l.ServiceDate), ',')
		dst = append(bad.appendProcedure(dst, l.Procedure), ',')
		dst = append(append(dst, l.Quadrant...), ',')
		dst = append(append(dst, l.PlanGroupNumber...), ',')
		if bad != NoSubscriber {
			dst = append(dst, l.SubscriberNumber.Reveal()...)
		}
		dst = append(bad.appendNPI(append(dst, ','), l.ProviderNPI), ',')
		dst = append(bad.appendBilled(dst, "$", l.ProviderFees), ",$"...)
		dst = append(l.AllowedFees.Append(dst), ",$"...)
		dst = append(l.MemberCoinsurance.Append(dst), ",$"...)
		dst = append(l.MemberCopay.Append(dst), '\n')
	}
	return dst
}

// appendSlashedDate appends MM/DD/YY HH:MM.
func appendSlashedDate(dst []byte, bad Bad, date claim.ServiceDate) []byte {
	year, month, day := bad.date(date)
	dst = append(appendPadded(dst, 2, month), '/')
	dst = append(appendPadded(dst, 2, day), '/')
	return append(appendPadded(dst, 2, year%100), " 00:00"...)
}
