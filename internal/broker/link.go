package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Waits between two tries to connect, over all servers of the list.
const (
	minReconnectDelay = 100 * time.Millisecond
	maxReconnectDelay = 5 * time.Second
)

// complainEvery is how often an error that the connection reports by itself is
// logged; a permission that is missing shows at every message.
const complainEvery = 10 * time.Second

// errConnecting: the first try to connect is not decided yet.
var errConnecting = errors.New("still connecting")

// errNoAnswer: there is no server where one should be, or none that speaks NATS.
var errNoAnswer = errors.New("no server answers")

// errClosed: Close was called.
var errClosed = errors.New("closed")

// link knows whether the connection stands, and why not. The connection itself can
// not be asked: while it dials, every call to it waits for that. Whoever wants to
// send is told at once instead, and comes again later.
type link struct {
	logger *slog.Logger
	conn   atomic.Pointer[nats.Conn] // set as soon as there is one

	mu         sync.Mutex
	why        error // the connection does not stand; nil: it does
	logged     bool  // the outage is logged
	refused    bool  // so is that the broker refuses us
	complained time.Time
}

func newLink(logger *slog.Logger) *link { return &link{logger: logger, why: errConnecting} }

// up fails where the connection does not stand.
func (l *link) up() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return nil
	}
	return fmt.Errorf("not connected to the broker: %w", l.why)
}

// options give the link every turn that the connection takes.
func (l *link) options() []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(func(*nats.Conn) { l.stands() }),
		nats.ReconnectHandler(func(*nats.Conn) { l.stands() }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.fails(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				err = errClosed
			}
			l.fails(err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.reports(err) }),
		nats.CustomReconnectDelay(l.delay),
	}
}

// stands notes that the connection is there (again).
func (l *link) stands() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.logged {
		l.logger.Info("the broker is connected again")
	}
	l.why, l.logged, l.refused = nil, false, false
}

// fails notes why the connection is not there. Of an outage the first error is
// logged, and the first that somebody has to do something about.
func (l *link) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(err, nats.ErrNoServers) { // which would be said of every server that is away
		err = errNoAnswer
	}
	if isRefusal(err) {
		err = fmt.Errorf("it refuses the user, password or credentials, check them: %w", err)
		if !l.refused {
			l.logger.Error("the broker refuses the connection, trying again until it works", "error", err, "hint", advice(err))
		}
		l.logged, l.refused = true, true
	}
	l.why = err
	if !l.logged && !errors.Is(err, errClosed) {
		l.logger.Warn("the broker is not connected, trying again until it works", "error", err, "hint", advice(err))
		l.logged = true
	}
}

// advice says what can be done about a connection that is not there.
func advice(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case isRefusal(err):
		return "correct the user in CLAIMRAIL_NATS_URL, or CLAIMRAIL_NATS_CREDENTIALS, or the users of the servers"
	case errors.As(err, &certificate), errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return "name the servers by nats:// or tls:// as they have it, and the authority that certifies them in CLAIMRAIL_NATS_CA"
	default:
		return "start the servers, or correct CLAIMRAIL_NATS_URL"
	}
}

// reports notes an error of a connection that may stand all the same.
func (l *link) reports(err error) {
	if isRefusal(err) {
		l.fails(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.complained.IsZero() && time.Since(l.complained) < complainEvery {
		return
	}
	l.complained = time.Now()
	l.logger.Warn("the connection to the broker reports an error", "error", err)
}

// delay gives the wait after so many rounds without success, from 1. No other call
// tells of a broker that is there and refuses us before the first success.
func (l *link) delay(rounds int) time.Duration {
	if conn := l.conn.Load(); conn != nil {
		if err := conn.LastError(); err != nil {
			l.fails(err)
		}
	}
	wait := minReconnectDelay
	for range rounds - 1 {
		if wait = min(2*wait, maxReconnectDelay); wait == maxReconnectDelay {
			break
		}
	}
	return wait/2 + rand.N(wait/2) // drawn, so that instances do not come back in step
}

// isRefusal tells an error that goes away only when somebody changes a setting, here
// or at the broker.
func isRefusal(err error) bool {
	for _, refusal := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked,
		nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
