// Package api is the door of the line: HTTP in front of claims and payments. It
// reads a claim, has it validated and committed, and answers only then; it shows
// what is stored and what is paid; it keeps the brief's two endpoints to the
// letter and has problem documents (RFC 9457) on all others. Handlers return errors;
// one table, in fault.go, says what a client sees of them.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits.
const (
	// MaxBodyBytes bounds a request's body.
	MaxBodyBytes = 1 << 20
	// submitTimeout bounds the wait for a claim's commit: longer than the committer's own
	// bounds, so that its word on the outcome is heard.
	submitTimeout = 20 * time.Second
	// readTimeout bounds a question to one of the databases.
	readTimeout = 10 * time.Second
)

// Submitter takes in a claim and answers when it is committed.
type Submitter interface {
	Submit(ctx context.Context, submission store.Submission) (store.Outcome, error)
}

// Claims is what the API reads of the claims database.
type Claims interface {
	Claim(ctx context.Context, id uuid.UUID) (store.Record, error)
	Claims(ctx context.Context, filter store.Filter) ([]store.Summary, error)
	Records(ctx context.Context, filter store.Filter) iter.Seq2[store.Record, error]
	TopProviders(ctx context.Context, limit int) ([]store.ProviderTotal, error)
}

// Limiter counts requests over all instances; see store.Engine.
type Limiter interface {
	Take(ctx context.Context, client string, limit int, window time.Duration, now time.Time) (store.Rate, error)
}

// Payments is where recorded payments are read.
type Payments interface {
	Payment(ctx context.Context, claimID uuid.UUID) (payment.Payment, error)
	Payments(ctx context.Context, filter payment.PaymentFilter) ([]payment.Payment, error)
}

// Letters is where dead letters are read and decided on.
type Letters interface {
	DeadLetters(ctx context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error)
	Letter(ctx context.Context, id int64) (payment.DeadLetter, []payment.Entry, error)
	Redrive(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error)
	Discard(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error)
}

// Probe is one thing that has to work for the service to be ready.
type Probe struct {
	Name  string
	Check func(context.Context) error
}

// Config is what the API stands on. All fields must be set, but for the first five,
// which may all be nil: then it is the API of payments alone, and takes no claims; and for
// Loopback and Hosts, without which the Host of a request is not looked at.
type Config struct {
	Validator             *claim.Validator
	Submitter             Submitter
	Claims                Claims
	Limiter               Limiter
	Imports               *bulk.Desk
	Payments              Payments
	Letters               Letters
	Probes                []Probe
	Metrics               http.Handler
	Observe               func(method, route string, status int, took time.Duration) // called after each request
	TopProvidersPerMinute int                                                        // requests of one client in any 60 seconds
	Loopback              bool                                                       // a request must come under a name of loopback, or one of Hosts
	Hosts                 []string                                                   // taken beside loopback, with a port or for any; where there are some, no other is
	Now                   func() time.Time
	Logger                *slog.Logger
	Version               string
}

// API answers requests. It is an http.Handler; any number of requests may be
// served at once.
type API struct {
	Config
	mux       *http.ServeMux
	inFlight  places
	downloads chan struct{}
	watchers  chan struct{}
	refused   refusals
	origins   http.CrossOriginProtection
	strange   http.Handler // of what came under another server's name
	desks     sync.Pool    // of *desk
}

// New gives the API. It panics where its own table of routes is wrong, which the first
// test shows.
func New(config Config) *API {
	a := &API{
		Config:    config,
		mux:       http.NewServeMux(),
		inFlight:  make(places, maxInFlight),
		downloads: make(chan struct{}, maxDownloads),
		watchers:  make(chan struct{}, maxWatchers),
		refused:   newRefusals(),
		desks:     sync.Pool{New: func() any { return new(desk) }},
	}
	routes := a.routes()
	spec := specification(routes, config.Version)
	for i := range routes {
		a.mux.Handle(routes[i].method+" "+routes[i].path, a.serve(&routes[i]))
	}
	a.mux.Handle("GET /openapi.json", static("application/json", spec))
	docs := docsPage()
	a.mux.Handle("/docs", docs)
	a.mux.Handle("/docs/", docs)
	a.mux.Handle("GET /metrics", config.Metrics)
	a.mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusSeeOther))
	a.mux.Handle("/", a.serve(&route{open: true, handle: a.nowhere}))
	a.strange = a.serve(&route{open: true, handle: a.misdirected})
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !a.takesHost(r) {
		a.strange.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// route is one operation: what it is, for the specification, and who answers it.
type route struct {
	method, path string
	id           string // operationId
	tag          string
	summary      string
	description  string
	params       []param
	request      *content
	answers      map[int]content
	faults       []int // statuses of errors that can come, beside those that always can
	brief        bool  // errors take the brief's shape
	open         bool  // answered even when too many requests are in flight
	handle       func(w http.ResponseWriter, r *http.Request) error
}

func (a *API) routes() []route {
	var routes []route
	if a.Submitter != nil {
		routes = slices.Concat(a.briefRoutes(), a.claimRoutes(), []route{a.claimExport()}, a.importRoutes())
	}
	return slices.Concat(routes, a.paymentRoutes(), a.paymentExports(), a.healthRoutes())
}

// serve wraps a route in what all of them need: a bound on how many run at once, an
// end to panics, and one way to tell errors.
func (a *API) serve(rt *route) http.Handler {
	return http.HandlerFunc(func(plain http.ResponseWriter, r *http.Request) {
		w := &watched{ResponseWriter: plain, status: http.StatusOK}
		defer func(start time.Time) {
			a.Observe(rt.method, rt.path, w.status, time.Since(start))
		}(time.Now())
		boundBody(w, r)
		if a.origins.Check(r) != nil {
			a.fail(w, r, rt, newFault(http.StatusForbidden, "cross-origin", "a page of another origin may not do this"))
			return
		}
		if !rt.open {
			if err := a.inFlight.take(r.Context()); err != nil {
				a.fail(w, r, rt, err)
				return
			}
			defer a.inFlight.free()
		}
		defer func() {
			switch found := recover(); found {
			case nil:
			case http.ErrAbortHandler:
				panic(found) // the answer has begun; the server breaks it off
			default:
				// The value itself might hold PHI.
				a.fail(w, r, rt, fmt.Errorf("handler panicked with a %T: %s", found, debug.Stack()))
			}
		}()
		if err := rt.unknownQuery(r); err != nil {
			a.fail(w, r, rt, err)
			return
		}
		if err := rt.handle(w, r); err != nil {
			a.fail(w, r, rt, err)
		}
	})
}

// watched notes the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// nowhere answers what no route takes: a path that is not there, or one that is but not
// with this method.
func (a *API) nowhere(w http.ResponseWriter, r *http.Request) error {
	if allowed := a.methods(r, r.URL.Path); len(allowed) > 0 {
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		return newFault(http.StatusMethodNotAllowed, "method-not-allowed", "this path takes "+list)
	}
	if path, slash := strings.CutSuffix(r.URL.Path, "/"); slash && len(a.methods(r, path)) > 0 {
		return newFault(http.StatusNotFound, "no-such-path", "nothing is here; leave out the / at the end of the path")
	}
	return newFault(http.StatusNotFound, "no-such-path", "nothing is here; see /docs for what there is")
}

// methods gives the methods that a path takes.
func (a *API) methods(r *http.Request, path string) []string {
	var taken []string
	other := r.Clone(r.Context())
	other.URL.Path = path
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/" && pattern != "" {
			taken = append(taken, method)
		}
	}
	return taken
}

// reply writes a body as JSON.
func reply(w http.ResponseWriter, status int, body any) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	replyText(w, status, buffer.Bytes())
	return nil
}

// replyText writes a body that is JSON already.
func replyText(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // answers hold PHI, and change
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that went away does not want to know
}

func static(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
}
