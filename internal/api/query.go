package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// Places of a param.
const (
	inQuery  = "query"
	inPath   = "path"
	inHeader = "header"
)

// param is a parameter of a route, for the specification; a query parameter that is
// not among a route's is refused, since a mistyped filter that is ignored shows too much.
type param struct {
	in, name, text string
	kind           string // of JSON schema; empty: string
	format         string // of JSON schema; may be empty
	example        any
	oneOf          []string
	least, most    int // of integers; both 0: no bounds
}

// unknownQuery refuses query parameters that the route does not have, or that stand twice.
func (rt *route) unknownQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	var known []string
	for i := range rt.params {
		if rt.params[i].in == inQuery {
			known = append(known, rt.params[i].name)
		}
	}
	var items []item
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil { // what can not be read is left out of the values
		items = append(items, item{place: []any{inQuery}, code: "syntax", message: "the query can not be read: write ; as %3B, and % as %25"})
	}
	for name, values := range r.URL.Query() {
		switch {
		case !slices.Contains(known, name):
			message := "there is no such parameter here"
			if len(known) > 0 {
				message += "; there are " + strings.Join(known, ", ")
			}
			items = append(items, queryItem(name, "unknown-parameter", message, ""))
		case len(values) > 1:
			items = append(items, queryItem(name, claim.CodeRepeated, "send this parameter once", ""))
		}
	}
	if len(items) == 0 || rt.path == "" || rt.open { // a probe may say what it likes
		return nil
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.field, b.field) })
	return invalidQuery(items)
}

func queryItem(name, code, message, input string) item {
	name = intake.Show(name) // one that is not ours may be anything
	it := item{place: []any{inQuery, name}, field: name, code: code, message: message}
	if input != "" {
		it.input = shown(claim.Raw{Shape: claim.Text, Text: input})
	}
	return it
}

// query reads query parameters, and collects what is wrong with them.
type query struct {
	values map[string][]string
	wrong  []item
}

func newQuery(r *http.Request) *query { return &query{values: r.URL.Query()} }

// fault gives all that was wrong, or nil.
func (q *query) fault() error {
	if len(q.wrong) == 0 {
		return nil
	}
	return invalidQuery(q.wrong)
}

// text gives a parameter; there is false where it was not sent.
func (q *query) text(name string) (text string, there bool) {
	values, there := q.values[name]
	if !there || len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func (q *query) refuse(name, message, input string) {
	q.wrong = append(q.wrong, queryItem(name, "invalid-parameter", message, input))
}

// integer gives a whole number from least to most.
func (q *query) integer(name string, otherwise, least, most int64) int64 {
	text, there := q.text(name)
	if !there {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		q.refuse(name, "a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10), text)
		return otherwise
	}
	return n
}

// oneOf gives one of the words, or "" where none was sent.
func (q *query) oneOf(name string, words []string) string {
	text, there := q.text(name)
	if there && !slices.Contains(words, text) {
		q.refuse(name, "one of "+strings.Join(words, ", "), text)
		return ""
	}
	return text
}

// npi gives an NPI, and whether one was sent.
func (q *query) npi(name string) (claim.NPI, bool) {
	text, there := q.text(name)
	if !there {
		return 0, false
	}
	npi, err := claim.ParseNPI(text)
	if err != nil {
		q.refuse(name, "exactly 10 digits", text)
	}
	return npi, true
}

// moment gives a time, or the zero time where none was sent. A day is its midnight, UTC.
func (q *query) moment(name string) time.Time {
	text, there := q.text(name)
	if !there {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	q.refuse(name, "a time as 2026-03-28T12:00:00Z, or a day as 2026-03-28", text)
	return time.Time{}
}

// MaxIdempotencyKey bounds the Idempotency-Key header, in bytes.
const MaxIdempotencyKey = 255

func idempotencyKey() param {
	return param{
		in: inHeader, name: "Idempotency-Key", example: "8e03978e-40d5-43dd-bc93-6894a57f9324",
		text: "Your own name of this claim: sent again under it, the same claim is stored once. It says nothing where there is an external_claim_id. Printable ASCII, 255 bytes at most.",
	}
}

// idempotencyKeyOf reads the header; "" where there is none. One that can not serve as a
// key is refused: without it the claim would lose its identity.
func idempotencyKeyOf(header http.Header) (string, error) {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	valid := len(values) == 1 && key != "" && len(key) <= MaxIdempotencyKey
	for i := 0; valid && i < len(key); i++ {
		valid = key[i] >= ' ' && key[i] <= '~'
	}
	if !valid {
		return "", newFault(http.StatusBadRequest, "idempotency-key",
			"send one Idempotency-Key of 1 to "+strconv.Itoa(MaxIdempotencyKey)+" printable ASCII characters, or none")
	}
	return key, nil
}

// traceparentSize is that of version 00: "00-" 32 hex "-" 16 hex "-" 2 hex.
const traceparentSize = 55

// traceparent gives the request's W3C trace context, to travel with the claim; "" where
// there is none, or none that is well formed.
func traceparent(header http.Header) string {
	text := header.Get("Traceparent")
	if len(text) != traceparentSize {
		return ""
	}
	for i := range len(text) {
		dash := i == 2 || i == 35 || i == 52
		hex := text[i] >= '0' && text[i] <= '9' || text[i] >= 'a' && text[i] <= 'f'
		if dash != (text[i] == '-') || !dash && !hex {
			return ""
		}
	}
	return text
}
