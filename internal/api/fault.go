package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// fault is an error as a client sees it.
type fault struct {
	status     int
	code       string // stable word
	detail     string // what to change, or what to do
	retryAfter time.Duration
	items      []item
	warnings   []item // of a claim; they alone are no fault
	id         string // of an opaque 500: the same in the log
}

// Error gives the detail.
func (f *fault) Error() string { return f.detail }

// item is one of several things that are wrong.
type item struct {
	place   []any // where: ["body"], ["query", name], or index of the line and name of the field
	line    *int
	field   string
	code    string
	message string
	input   json.RawMessage // what was found; nil if there was nothing
	isPHI   bool
}

func newFault(status int, code, detail string) *fault {
	return &fault{status: status, code: code, detail: detail}
}

// retry is how long a client should wait before it tries again what can not be done now.
const retry = time.Second

var errBusy = &fault{
	status: http.StatusServiceUnavailable, code: "busy",
	detail: "too many requests are being worked on; send it again a little later", retryAfter: retry,
}

// kinds is the one table of what a client sees of an error, first match first.
var kinds = [...]struct {
	kind   error
	status int
	code   string
	detail string
}{
	{store.ErrNotFound, http.StatusNotFound, "no-such-claim", "no claim has this id"},
	{bulk.ErrBusy, http.StatusServiceUnavailable, "busy", "too many imports are under way; send the file again a little later"},
	{store.ErrLostImport, http.StatusConflict, "import-ended", "the import has ended meanwhile, as by being cancelled; send the file again"},
	{payment.ErrNotFound, http.StatusNotFound, "not-found", "no dead letter has this id"},
	{store.ErrOtherClaim, http.StatusConflict, "other-claim", "another claim was accepted under this external_claim_id or Idempotency-Key; send a new claim under a new one"},
	{payment.ErrClosed, http.StatusConflict, "closed", "this dead letter was redriven, discarded or paid already"},
	{payment.ErrNoClaim, http.StatusConflict, "no-claim", "this dead letter names no claim, so it can not be sent again; discard it"},
	{payment.ErrPaid, http.StatusConflict, "paid", "a payment is on record for the claim of this dead letter, so it can not be sent again; discard it: the payment stays"},
	{store.ErrUnknownOutcome, http.StatusServiceUnavailable, "unknown-outcome", "whether the claim was stored is not known; send the same again under the same external_claim_id or Idempotency-Key to find out"},
	{store.ErrUnavailable, http.StatusServiceUnavailable, "claims-unavailable", "the claims database can not be used now; nothing was stored; send it again a little later"},
	{payment.ErrUnavailable, http.StatusServiceUnavailable, "payments-unavailable", "the payments database can not be used now; try again a little later"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "timeout", "it took too long; try again a little later"},
	{context.Canceled, http.StatusServiceUnavailable, "canceled", "the request was given up"},
}

// faultOf turns an error into what a client sees of it. What it does not know is an
// opaque 500.
func faultOf(err error) *fault {
	if known, ok := errors.AsType[*fault](err); ok {
		return known
	}
	if syntax, ok := errors.AsType[*intake.SyntaxError](err); ok {
		f := newFault(http.StatusBadRequest, "syntax", syntax.Error())
		f.items = []item{{place: []any{"body"}, code: "syntax", message: syntax.Error()}}
		return f
	}
	if format, ok := errors.AsType[*intake.FormatError](err); ok {
		return newFault(http.StatusUnsupportedMediaType, "format", format.Error())
	}
	if refused, ok := errors.AsType[*intake.Refused](err); ok {
		return invalid(refused.Violations)
	}
	for i := range kinds {
		if errors.Is(err, kinds[i].kind) {
			f := newFault(kinds[i].status, kinds[i].code, kinds[i].detail)
			if f.status == http.StatusServiceUnavailable {
				f.retryAfter = retry
			}
			return f
		}
	}
	f := newFault(http.StatusInternalServerError, "internal", "something went wrong here; give the id to the operator")
	f.id = uuid.NewString()
	return f
}

// invalid gives the fault of a claim that can not be accepted.
func invalid(violations []claim.Violation) *fault {
	f := newFault(http.StatusUnprocessableEntity, "invalid-claim", "the claim breaks the rules listed in errors; nothing was stored")
	for _, v := range violations {
		it := item{
			line: lineIndex(v.Line), field: v.Field.String(), code: v.Code, message: v.Message,
			input: shown(v.Found), isPHI: v.Field.IsPHI(),
		}
		if v.Line == claim.WholeClaim {
			it.place = append(it.place, "body")
		} else {
			it.place = append(it.place, v.Line)
		}
		if it.field != "" {
			it.place = append(it.place, it.field)
		}
		if v.Severity == claim.Warning {
			f.warnings = append(f.warnings, it)
		} else {
			f.items = append(f.items, it)
		}
	}
	return f
}

// shown gives a value as JSON, or nil where there is nothing to show. A value may stand in a
// field that is not its own, so that none is shown which may be health data: see intake.Show.
func shown(found claim.Raw) json.RawMessage {
	switch found.Shape {
	case claim.Null:
		return json.RawMessage("null")
	case claim.Text, claim.Number, claim.Bool:
		text := intake.Show(found.Text)
		if found.Shape != claim.Text && text == found.Text {
			return json.RawMessage(text)
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			return nil
		}
		return quoted
	default:
		return nil
	}
}

// invalidQuery gives the fault of query parameters that can not be taken.
func invalidQuery(items []item) *fault {
	f := newFault(http.StatusUnprocessableEntity, "invalid-query", "correct the query parameters listed in errors")
	f.items = items
	return f
}

// fail tells the client, and logs what is not the client's to mend; what was refused by a limit of
// ours is no failure, and a warning.
func (a *API) fail(w http.ResponseWriter, r *http.Request, rt *route, err error) {
	f := faultOf(err)
	if f.status >= http.StatusInternalServerError && f != errBusy && r.Context().Err() == nil {
		level, text := slog.LevelError, "request failed"
		if _, chosen := errors.AsType[*fault](err); chosen || errors.Is(err, bulk.ErrBusy) {
			level, text = slog.LevelWarn, "request refused"
		}
		a.Logger.LogAttrs(r.Context(), level, text, slog.String("method", r.Method),
			slog.String("route", rt.path), slog.Int("status", f.status), slog.String("id", f.id), slog.Any("error", err))
	}
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	if rt.brief {
		f.writeBrief(w)
		return
	}
	f.writeProblem(w)
}

// BriefFault is an error in the shape of the brief's endpoints.
type BriefFault struct {
	Detail struct {
		Errors []BriefError `json:"errors"`
	} `json:"detail"`
}

// BriefError is one thing that is wrong.
type BriefError struct {
	Loc     []any           `json:"loc" doc:"where: index of the line and name of the field; [\"body\"] or [\"query\", name] else"`
	Type    string          `json:"type" example:"value_error"`
	Msg     string          `json:"msg" example:"an NPI must have exactly 10 digits"`
	Input   json.RawMessage `json:"input,omitempty" doc:"what was found; what may be health data by its form, 9 for a digit and A for a letter"`
	Line    *int            `json:"line" nullable:"true" doc:"index of the line, from 0; null where it is about none" example:"0"`
	Field   string          `json:"field" example:"provider_npi"`
	Code    string          `json:"code" doc:"stable word for programs" example:"npi-digits"`
	ErrorID string          `json:"error_id,omitempty" doc:"of an internal error: the same in the log"`
}

func (f *fault) writeBrief(w http.ResponseWriter) {
	status := f.status
	if f.code == "other-claim" { // the brief's endpoint knows no 409
		status = http.StatusUnprocessableEntity
	}
	var body BriefFault
	for _, it := range f.itemsOrSelf() {
		e := BriefError{
			Loc: it.place, Type: briefType(it.code), Msg: it.message, Line: it.line, Field: it.field, Code: it.code, ErrorID: f.id,
		}
		if !it.isPHI {
			e.Input = it.input
		}
		body.Detail.Errors = append(body.Detail.Errors, e)
	}
	_ = reply(w, status, &body)
}

// itemsOrSelf gives the items, or the fault itself as the only one.
func (f *fault) itemsOrSelf() []item {
	if len(f.items) > 0 {
		return f.items
	}
	return []item{{place: []any{}, code: f.code, message: f.detail}}
}

// briefType gives the kind of error in the words of the service that this one replaces.
func briefType(code string) string {
	switch code {
	case claim.CodeRequired:
		return "missing"
	case claim.CodeType:
		return "type_error"
	case "syntax":
		return "json_invalid"
	default:
		return "value_error"
	}
}

// Problem is a problem document (RFC 9457).
type Problem struct {
	Type     string         `json:"type" example:"urn:claimrail:problem:invalid-claim"`
	Title    string         `json:"title" example:"Unprocessable Entity"`
	Status   int            `json:"status" example:"422"`
	Detail   string         `json:"detail" doc:"what to change, or what to do"`
	Code     string         `json:"code" doc:"stable word for programs" example:"invalid-claim"`
	Instance string         `json:"instance,omitempty" doc:"of an internal error: its id, the same in the log"`
	Errors   []ProblemError `json:"errors,omitempty"`
	Warnings []ProblemError `json:"warnings,omitempty" doc:"what would be told of the claim if it were accepted"`
}

// ProblemError is one thing that is wrong.
type ProblemError struct {
	Line    *int            `json:"line" nullable:"true" doc:"index of the line, from 0; null where it is about none" example:"0"`
	Field   string          `json:"field,omitempty" doc:"field of the line, or query parameter" example:"provider_npi"`
	Code    string          `json:"code" example:"npi-digits"`
	Message string          `json:"message" example:"an NPI must have exactly 10 digits"`
	Input   json.RawMessage `json:"input,omitempty" doc:"what was found; what may be health data by its form, 9 for a digit and A for a letter"`
}

func (it *item) problem() ProblemError {
	e := ProblemError{Line: it.line, Field: it.field, Code: it.code, Message: it.message}
	if !it.isPHI {
		e.Input = it.input
	}
	return e
}

func (f *fault) writeProblem(w http.ResponseWriter) {
	body := Problem{
		Type: "urn:claimrail:problem:" + f.code, Title: http.StatusText(f.status), Status: f.status, Detail: f.detail, Code: f.code,
	}
	if f.id != "" {
		body.Instance = "urn:uuid:" + f.id
	}
	for i := range f.items {
		body.Errors = append(body.Errors, f.items[i].problem())
	}
	for i := range f.warnings {
		body.Warnings = append(body.Warnings, f.warnings[i].problem())
	}
	text, err := json.Marshal(&body)
	if err != nil { // it holds nothing that can not be written
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(text, '\n'))
}
