package broker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
)

// run starts a NATS server of its own; Port 0 takes any that is free. It is stopped
// with the test at the latest.
func run(t *testing.T, options server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	running, err := server.NewServer(&options)
	if err != nil {
		t.Fatalf("server: %v", err)
	}
	t.Cleanup(func() { stop(running) })
	running.Start()
	if !running.ReadyForConnections(patience) {
		t.Fatal("the server does not get ready")
	}
	return running
}

// stop ends a server, and waits for that.
func stop(running *server.Server) {
	running.Shutdown()
	running.WaitForShutdown()
}

// port is where a server listens.
func port(running *server.Server) int { return running.Addr().(*net.TCPAddr).Port }

// freePorts gives ports that nobody listened at just now.
func freePorts(t *testing.T, count int) (ports []int) {
	t.Helper()
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }() // all at the end, so that they differ
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// dial opens a broker, and wants no error.
func dial(t *testing.T, config broker.ExternalConfig, logger *slog.Logger) *bench {
	t.Helper()
	opened, err := broker.OpenExternal(t.Context(), config, logger)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b := &bench{T: t, Broker: opened}
	t.Cleanup(func() { b.close() })
	return b
}

// connected waits until messages can be sent.
func (b *bench) connected() {
	b.Helper()
	b.until("ping", func() (any, bool) { err := b.Ping(b.Context()); return err, err == nil })
}

// refused calls everything that needs the broker, and wants an error at once from each.
func (b *bench) refused() {
	b.Helper()
	start := time.Now()
	_, fetching := b.Fetch(b.Context(), 10)
	_, asking := b.Ask(b.Context(), question(claim(1)))
	_, _, progress := b.Progress(b.Context())
	for what, err := range map[string]error{
		"fetch": fetching, "ask": asking, "progress": progress, "ping": b.Ping(b.Context()), "trim": b.Trim(b.Context()),
		"hint":    b.Hint(b.Context(), standings(claim(1))),
		"publish": b.Publish(b.Context(), claims(1, 500))[499].Err,
	} {
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "not connected") {
			b.Errorf("%s: got %v, want one line of an error", what, err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		b.Errorf("seven refusals took %s", took)
	}
}

// Through an external server messages and questions go as through the embedded one,
// two processes share it, and a single server keeps the stream once and says so.
func TestExternal(t *testing.T) {
	t.Parallel()
	log := &journal{}
	config := broker.ExternalConfig{
		URL: run(t, server.Options{JetStream: true, StoreDir: t.TempDir()}).ClientURL(), StreamBytes: 1 << 20,
	}
	sender, payments := dial(t, config, log.logger()), dial(t, config, log.logger())
	sender.publish(claims(1, 3)...)
	got := payments.fetch(3)
	same(t, "fetched", idsOf(got), ids(claims(1, 3)...))
	payments.ack(got...)
	sender.progress(3, 3)
	end := payments.serve(func(ctx context.Context) error {
		return payments.Answer(ctx, func(context.Context, event.Question) (event.Answer, error) {
			return standings(claim(1)), nil
		})
	})
	answer, err := sender.Ask(t.Context(), question(claim(1)))
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	same(t, "answer", answer, standings(claim(1)))
	end()
	if !strings.Contains(log.String(), "wanted=3 kept=1") {
		t.Errorf("the log does not tell of the replicas:\n%s", log)
	}
}

// A broker that is down at the start fails no start: everything is refused at once
// until it is up, and then stream and consumer are made. The same goes for an outage.
func TestExternalDownAtStart(t *testing.T) {
	t.Parallel()
	log := &journal{}
	options := server.Options{Port: freePorts(t, 1)[0], JetStream: true, StoreDir: t.TempDir()}
	b := dial(t, broker.ExternalConfig{
		URL: fmt.Sprintf("nats://127.0.0.1:%d", options.Port), StreamBytes: 1 << 20,
	}, log.logger())
	b.refused()
	running := run(t, options)
	b.connected()
	b.publish(claims(1, 2)...)
	b.ack(b.fetch(1)...)
	b.progress(1, 2)
	stop(running)
	b.until("outage", func() (any, bool) { // known to the link, not only to the connection
		err := b.Ping(t.Context())
		return err, err != nil && strings.Contains(err.Error(), "not connected")
	})
	b.refused()
	run(t, options)
	b.connected()
	same(t, "after the outage", idsOf(b.fetch(1)), ids(claim(2)))
	same(t, "sequence", b.publish(claim(3)), []uint64{3})
	b.close() // before its server
	for line, want := range map[string]int{"is not connected": 2, "connected again": 2} {
		if got := strings.Count(log.String(), line); got != want {
			t.Errorf("%q in the log: got %d, want %d:\n%s", line, got, want, log)
		}
	}
}

// A broker that stays down hinders nobody from closing.
func TestExternalCloseWhileDown(t *testing.T) {
	t.Parallel()
	b := dial(t, broker.ExternalConfig{
		URL: fmt.Sprintf("nats://127.0.0.1:%d", freePorts(t, 1)[0]),
	}, slog.New(slog.DiscardHandler))
	start := time.Now()
	b.close()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("close took %s", took)
	}
}

// With a wrong password the broker is tried for ever: Ping says what to do, the log
// says it once, and neither tells the password. As soon as it is set right at the
// broker, all goes well. It may turn out before the first connection or after.
func TestExternalWrongPassword(t *testing.T) {
	t.Parallel()
	const password = "s3cret-w0rd"
	for name, upAtStart := range map[string]bool{"at start": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &journal{}
			options := server.Options{
				Port: freePorts(t, 1)[0], JetStream: true, StoreDir: t.TempDir(), Username: "claimrail", Password: "other",
			}
			var running *server.Server
			if upAtStart {
				running = run(t, options)
			}
			b := dial(t, broker.ExternalConfig{
				URL: fmt.Sprintf("nats://claimrail:%s@127.0.0.1:%d", password, options.Port), StreamBytes: 1 << 20,
			}, log.logger())
			if !upAtStart {
				b.refused()
				running = run(t, options)
			}
			var last error
			b.until("refusals", func() (any, bool) {
				last = b.Ping(t.Context())
				status, err := running.Varz(nil)
				return last, err == nil && status.TotalConnections >= 5 && last != nil && strings.Contains(last.Error(), "check them")
			})
			b.refused()
			stop(running)
			options.Password = password
			run(t, options)
			b.connected()
			b.publish(claim(1))
			b.close() // before its server
			if got := strings.Count(log.String(), "refuses the connection"); got != 1 {
				t.Errorf("the refusal is logged %d times, want once:\n%s", got, log)
			}
			if text := log.String() + last.Error(); strings.Contains(text, password) {
				t.Errorf("the password is told:\n%s", text)
			}
		})
	}
}

// A setting that can not be used is refused at the start, in one line that tells
// nothing of a password.
func TestExternalRefusesSettings(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	empty, missing := filepath.Join(directory, "empty"), filepath.Join(directory, "missing")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const good = "nats://127.0.0.1:1"
	for want, configs := range map[string][]broker.ExternalConfig{
		"no URL": {{}, {URL: " "}},
		"URL 1 of 1": {
			{URL: "127.0.0.1:4222"},
			{URL: "http://127.0.0.1"},
			{URL: "nats://"},
			{URL: "nats://user:s3cret@"},
			{URL: "nats://user:s3cret@host:port"},
			{URL: "nats://user:s3cret#word@host"},
			{URL: "nats://user:12/s3cret@host"},
			{URL: "nats://user:12?s3cret@host"},
			{URL: "nats://user:%s3cret@host"},
		},
		"URL 2 of 2":        {{URL: good + ","}, {URL: good + ",tls//host"}},
		"17 URLs":           {{URL: strings.Repeat(good+",", 16) + good}},
		missing:             {{URL: good, Credentials: missing}, {URL: good, CA: missing}, {URL: good, Cert: missing, Key: missing}},
		empty:               {{URL: good, Credentials: empty}, {URL: good, CA: empty}},
		"needs two files":   {{URL: good, Cert: empty}, {URL: good, Key: empty}},
		"load":              {{URL: good, Cert: empty, Key: empty}},
		"holds no user":     {{URL: good, Credentials: empty}},
		"special character": {{URL: "nats://user:s3cret/w@host"}},
	} {
		for _, config := range configs {
			b, err := broker.OpenExternal(t.Context(), config, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = b.Close()
				t.Errorf("%+v: got no error", config)
				continue
			}
			if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "\n") || strings.Contains(text, "s3cret") {
				t.Errorf("%+v: got %q, want one line with %q and without the password", config, text, want)
			}
		}
	}
}

// authority makes certificates.
type authority struct {
	*testing.T
	directory string
	key       *ecdsa.PrivateKey
	root      *x509.Certificate
	serial    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t, directory: t.TempDir()}
	a.root, a.key = a.issue("ca")
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.directory, name+".pem") }

// issue writes NAME.pem and NAME.key.pem, signed by the authority if it has a key already.
func (a *authority) issue(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.root == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.root, a.key
	if parent == nil {
		parent, signer = template, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		a.path(name):          {Type: "CERTIFICATE", Bytes: signed},
		a.path(name + ".key"): {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		a.Fatal(err)
	}
	return certificate, key
}

// Over TLS, with a certificate on each side, user and password, messages go through.
// A server that another authority has signed for is not trusted with the password,
// and neither is one without TLS where the URL or a CA demands it.
func TestExternalTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.issue("server")
	ours.issue("client")
	settings, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: ours.path("server"), KeyFile: ours.path("server.key"), CaFile: ours.path("ca"), Verify: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	settings.MinVersion = tls.VersionTLS12
	options := server.Options{JetStream: true, StoreDir: t.TempDir(), Username: "claimrail", Password: "word"}
	plain := run(t, options)
	options.StoreDir, options.TLS, options.TLSVerify, options.TLSConfig, options.TLSTimeout = t.TempDir(), true, true, settings, 5
	secure := run(t, options)

	config := broker.ExternalConfig{
		URL: fmt.Sprintf("tls://claimrail:word@127.0.0.1:%d", port(secure)), StreamBytes: 1 << 20,
		CA: ours.path("ca"), Cert: ours.path("client"), Key: ours.path("client.key"),
	}
	b := dial(t, config, slog.New(slog.DiscardHandler))
	b.publish(claim(1))
	same(t, "fetched", idsOf(b.fetch(1)), ids(claim(1)))

	for name, change := range map[string]func(c *broker.ExternalConfig){
		"other authority": func(c *broker.ExternalConfig) { c.CA = theirs.path("ca") },
		"no certificate":  func(c *broker.ExternalConfig) { c.Cert, c.Key = "", "" },
		"no TLS, tls://":  func(c *broker.ExternalConfig) { c.URL, c.CA = portOf(c.URL, port(plain)), "" },
		"no TLS, nats:// and a CA": func(c *broker.ExternalConfig) {
			c.URL = strings.Replace(portOf(c.URL, port(plain)), "tls", "nats", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			other := config
			change(&other)
			dial(t, other, slog.New(slog.DiscardHandler)).refused()
		})
	}
}

// portOf puts another port into a URL.
func portOf(url string, port int) string {
	return fmt.Sprintf("%s:%d", url[:strings.LastIndex(url, ":")], port)
}

// What keeps a broker from being connected is logged with the place, what happened there and
// what to do, and without the password.
func TestAdvice(t *testing.T) {
	t.Parallel()
	open := run(t, server.Options{JetStream: true, StoreDir: t.TempDir()})
	closed := run(t, server.Options{JetStream: true, StoreDir: t.TempDir(), Username: "clerk", Password: "other"})
	bare := run(t, server.Options{})
	for name, test := range map[string]struct{ url, place, problem, hint string }{
		"nobody":       {"nats://u:s3cret@127.0.0.1:1", "127.0.0.1:1", "no server answers", "start the servers, or correct CLAIMRAIL_NATS_URL"},
		"no TLS":       {fmt.Sprintf("tls://u:s3cret@127.0.0.1:%d", port(open)), "", "secure connection not available", "name the servers by nats:// or tls://"},
		"password":     {fmt.Sprintf("nats://clerk:s3cret@127.0.0.1:%d", port(closed)), "", "refuses the user, password or credentials", "correct the user in CLAIMRAIL_NATS_URL"},
		"no JetStream": {fmt.Sprintf("nats://127.0.0.1:%d", port(bare)), "", "make stream", "start the servers with JetStream on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &journal{}
			b := dial(t, broker.ExternalConfig{URL: test.url}, log.logger())
			b.until("a log of it", func() (any, bool) {
				text := log.String()
				return text, strings.Contains(text, "servers=127.0.0.1:") && strings.Contains(text, test.place) &&
					strings.Contains(text, test.problem) && strings.Contains(text, test.hint)
			})
			if strings.Contains(log.String(), "s3cret") {
				t.Errorf("log: got %q, want no password", log)
			}
			b.close()
		})
	}
}
