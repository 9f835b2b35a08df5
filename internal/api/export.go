package api

import (
	"context"
	"io"
	"net/http"

	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
)

func exportFormats() []string { return []string{string(export.CSV), string(export.NDJSON)} }

// exportOf completes the route of an export.
func exportOf(things string, rt route) route {
	rt.method, rt.path, rt.id = http.MethodGet, "/v1/export/"+things, "export-"+things
	rt.params = append([]param{{in: inQuery, name: "format", text: "Form of the file; csv if it is left out", oneOf: exportFormats()}}, rt.params...)
	rt.answers = map[int]content{http.StatusOK: {
		text: "The file, whole only if the answer ends as HTTP says; a broken connection means that it is not", media: []string{
			export.CSV.ContentType(), export.NDJSON.ContentType(),
		},
	}}
	rt.faults = []int{422, 505}
	return rt
}

// exportFormat says in which form the file is wanted.
func (q *query) exportFormat() export.Format {
	if format := export.Format(q.oneOf("format", exportFormats())); format != "" {
		return format
	}
	return export.CSV
}

// export answers with a file of things.
func (a *API) export(w http.ResponseWriter, r *http.Request, things string, format export.Format,
	write func(context.Context, io.Writer) error,
) error {
	name := things + "-" + a.Now().UTC().Format("20060102T150405Z") + "." + string(format)
	return a.download(w, r, format.ContentType(), name, write)
}

func (a *API) claimExport() route {
	return exportOf("claims", route{
		tag:     "claims",
		summary: "Download claims, in the order of acceptance",
		description: "Whole claims, protected health information: in CSV a row for each line, in NDJSON an object for each claim. " +
			"All stand as they did at one moment. The file can be imported again: claims that are here already are duplicates, and " +
			"elsewhere it gives the same claims. In CSV one apostrophe stands in front of text that a spreadsheet would take for a formula.",
		params: claimFilters(),
		handle: func(w http.ResponseWriter, r *http.Request) error {
			q := newQuery(r)
			filter, format := q.claimFilter(), q.exportFormat()
			if err := q.fault(); err != nil {
				return err
			}
			return a.export(w, r, "claims", format, func(ctx context.Context, to io.Writer) error {
				return export.Claims(to, format, a.Claims.Records(ctx, filter))
			})
		},
	})
}

func (a *API) paymentExports() []route {
	return []route{
		exportOf("payments", route{
			tag:         "payments",
			summary:     "Download payments, the newest first",
			description: "In CSV a row for each posting, in NDJSON an object for each payment. What is recorded while it lasts is not in it.",
			params: []param{
				{in: inQuery, name: "provider_npi", text: "Payments with a posting to this provider", example: "1497775530"},
				{in: inQuery, name: "recorded_from", text: "Recorded at this time or later", format: "date-time"},
				{in: inQuery, name: "recorded_to", text: "Recorded before this time", format: "date-time"},
			},
			handle: func(w http.ResponseWriter, r *http.Request) error {
				q := newQuery(r)
				filter := payment.PaymentFilter{
					ProviderNPI: q.npiText("provider_npi"), From: q.moment("recorded_from"), To: q.moment("recorded_to"),
				}
				format := q.exportFormat()
				if err := q.fault(); err != nil {
					return err
				}
				return a.export(w, r, "payments", format, func(ctx context.Context, to io.Writer) error {
					return export.Payments(to, format, payment.AllPayments(ctx, a.Payments.Payments, filter))
				})
			},
		}),
		exportOf("dead-letters", route{
			tag:         "payments",
			summary:     "Download dead letters, the newest first",
			description: "Without the bodies of their messages. Each is as it stands when its row is written.",
			params:      letterFilters(),
			handle: func(w http.ResponseWriter, r *http.Request) error {
				q := newQuery(r)
				filter, format := q.letterFilter(), q.exportFormat()
				if err := q.fault(); err != nil {
					return err
				}
				return a.export(w, r, "dead-letters", format, func(ctx context.Context, to io.Writer) error {
					return export.DeadLetters(to, format, payment.AllLetters(ctx, a.Letters.DeadLetters, filter))
				})
			},
		}),
	}
}
