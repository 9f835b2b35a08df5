package main

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
)

// scrapeTimeout bounds what a scrape asks of the databases.
const scrapeTimeout = 2 * time.Second

// meter turns what the stations count into metrics. No metric has a label that a client
// or a claim sets.
type meter struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMeter(l *line) *meter {
	m := &meter{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "claimrail_http_request_duration_seconds", Help: "Requests by route and status, from the header to the answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route", "status"}),
	}
	m.registry.MustRegister(m.requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if l.role.claims() {
		m.registry.MustRegister(&backlogCollector{rows: l.claims})
		m.countClaims(l)
	}
	if l.role.payments() {
		m.registry.MustRegister(&letterCollector{l.ledger})
		m.countPayments(l)
	}
	return m
}

// countClaims makes the counters of claim-process.
func (m *meter) countClaims(l *line) {
	m.count("claimrail_accept_batches_total", "Transactions that stored claims.", &l.committer.Stats().Batches)
	m.count("claimrail_accept_claims_total", "Claims in those transactions, repeats included.", &l.committer.Stats().Claims)
	m.count("claimrail_accept_splits_total", "Batches that were stored in parts, for one of their claims was at fault.", &l.committer.Stats().Splits)
	m.count("claimrail_accept_doubts_total", "Commits of unknown outcome, which were tried again.", &l.committer.Stats().Doubts)
	m.count("claimrail_accept_panics_total", "Panics while storing claims.", &l.committer.Stats().Panics)
	m.count("claimrail_imports_received_total", "Files that came in over HTTP.", &l.imports.Stats.Received)
	m.count("claimrail_imports_taken_total", "Runs of imports that began here.", &l.imports.Stats.Taken)
	m.count("claimrail_imports_done_total", "Imports that came to their end here.", &l.imports.Stats.Done)
	m.count("claimrail_imports_failed_total", "Imports whose file could not be read to its end.", &l.imports.Stats.Failed)
	m.count("claimrail_imports_left_total", "Runs that ended before their import, which goes on elsewhere or later, or was cancelled.", &l.imports.Stats.Left)
	m.count("claimrail_imports_claims_total", "Claims read from files, those of a file that is read again counted again.", &l.imports.Stats.Claims)
	m.count("claimrail_imports_rejected_total", "Claims among them that were rejected.", &l.imports.Stats.Rejected)
	m.count("claimrail_relay_published_total", "Messages that the broker took.", &l.relay.Stats.Published)
	m.count("claimrail_relay_failed_total", "Sends that failed and are tried again.", &l.relay.Stats.Failed)
	m.count("claimrail_relay_unsendable_total", "Messages that can not be sent and were parked.", &l.relay.Stats.Unsendable)
	m.count("claimrail_relay_database_errors_total", "Failures of the claims database, seen by the relay.", &l.relay.Stats.DatabaseErrors)
	m.count("claimrail_sweep_asked_total", "Claims that payments was asked about.", &l.sweep.Stats.Asked)
	m.count("claimrail_sweep_unanswered_total", "Questions that payments did not answer.", &l.sweep.Stats.Unanswered)
	m.count("claimrail_sweep_resent_total", "Claims sent again because payments did not know them.", &l.sweep.Stats.Resent)
	m.count("claimrail_sweep_conflicts_total", "Answers that told another amount than the claim's.", &l.sweep.Stats.Conflicts)
	m.count("claimrail_sweep_database_errors_total", "Failures of the claims database, seen by the sweep.", &l.sweep.Stats.DatabaseErrors)
	m.count("claimrail_verify_claims_total", "Claims drawn at random and verified, a hundred a minute.", &l.sampler.Stats.Claims)
	m.count("claimrail_verify_breaches_total", "Rules that these claims broke.", &l.sampler.Stats.Breaches)
	m.count("claimrail_verify_failed_total", "Draws that could not be verified to the end.", &l.sampler.Stats.Failed)
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "claimrail_verify_last_timestamp_seconds", Help: "When a draw was last verified to the end, in seconds since 1970; 0: not yet.",
	}, func() float64 { return float64(l.sampler.Stats.LastAt.Load()) }))
}

// countPayments makes the counters of payments.
func (m *meter) countPayments(l *line) {
	m.count("claimrail_payments_recorded_total", "New payments.", &l.stats.Recorded)
	m.count("claimrail_payments_repeats_total", "Messages whose payment was on record already.", &l.stats.Repeats)
	m.count("claimrail_payments_conflicts_total", "Messages for which another payment was on record.", &l.stats.Conflicts)
	m.count("claimrail_payments_written_off_total", "Messages of claims that were discarded.", &l.stats.WrittenOff)
	m.count("claimrail_payments_parked_total", "Messages that became dead letters.", &l.stats.Parked)
	m.count("claimrail_payments_failed_total", "Failures that count against a message.", &l.stats.Failed)
	m.count("claimrail_payments_naks_total", "Messages given back to the broker.", &l.stats.Naks)
	m.count("claimrail_payments_answers_failed_total", "Acknowledgements that the broker did not take.", &l.stats.AnswersFailed)
	m.count("claimrail_payments_hints_failed_total", "Hints to claim-process that were not sent.", &l.stats.HintsFailed)
}

func (m *meter) count(name, help string, counter *atomic.Int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(counter.Load()) }))
}

// observe counts one request.
func (m *meter) observe(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

func (m *meter) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Registry: m.registry})
}

// scraped is what a scrape asks of the databases. What can not be read is an error of the scrape, which
// promhttp_metric_handler_errors_total counts.
func scraped(to chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// backlogCollector counts, at each scrape, the claims that are under way. Where they can not be counted it gives
// the last count, whose oldest claim grows older: an alert on that must not go out with the database.
type backlogCollector struct {
	rows outbox.Rows
	last atomic.Pointer[outbox.Backlog] // nil until they were counted once
}

func backlogDesc() *prometheus.Desc {
	return prometheus.NewDesc("claimrail_outbox_claims", "Claims that payments has not confirmed, by where they are.", []string{"state"}, nil)
}

func oldestDesc() *prometheus.Desc {
	return prometheus.NewDesc("claimrail_outbox_oldest_seconds", "Age of the oldest claim that is under way.", nil, nil)
}

// Describe implements prometheus.Collector.
func (*backlogCollector) Describe(to chan<- *prometheus.Desc) {
	to <- backlogDesc()
	to <- oldestDesc()
}

// Collect implements prometheus.Collector.
func (b *backlogCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	counted, err := b.rows.Backlog(ctx)
	if err == nil {
		b.last.Store(&counted)
	} else {
		to <- prometheus.NewInvalidMetric(backlogDesc(), err)
	}
	backlog := b.last.Load()
	if backlog == nil {
		return
	}
	scraped(to, backlogDesc(), float64(backlog.Pending-backlog.Failed), "pending")
	scraped(to, backlogDesc(), float64(backlog.Failed), "failed_to_notify_payments")
	scraped(to, backlogDesc(), float64(backlog.Published), "notified")
	scraped(to, backlogDesc(), float64(backlog.Dead), "dead_lettered")
	scraped(to, backlogDesc(), float64(backlog.Discarded), "discarded")
	oldest := 0.0
	if !backlog.Oldest.IsZero() {
		oldest = time.Since(backlog.Oldest).Seconds()
	}
	scraped(to, oldestDesc(), oldest)
}

// letterCollector counts, at each scrape, the dead letters that wait.
type letterCollector struct{ ledger payment.Ledger }

func lettersDesc() *prometheus.Desc {
	return prometheus.NewDesc("claimrail_dead_letters_open", "Dead letters that wait for an operator.", nil, nil)
}

// Describe implements prometheus.Collector.
func (*letterCollector) Describe(to chan<- *prometheus.Desc) { to <- lettersDesc() }

// Collect implements prometheus.Collector.
func (c *letterCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	open, err := c.ledger.OpenDeadLetters(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(lettersDesc(), err)
		return
	}
	scraped(to, lettersDesc(), float64(open))
}
