package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of a connection to an external broker.
const (
	maxURLs        = 16
	wantedReplicas = 3                // of the stream, where the cluster has the servers for it
	pingInterval   = 10 * time.Second // a connection that is dead and not closed is noticed after two or three of them
	missedPings    = 2
)

// ExternalConfig is how to reach a NATS server or cluster that somebody else runs.
// It needs JetStream.
type ExternalConfig struct {
	// URL lists servers, separated by commas: nats://[user:password@]host[:port], or
	// tls:// for a connection that is encrypted or not made at all; one tls:// makes
	// all of them so. It may hold a password, and is part of no error and no log.
	URL string
	// Credentials names a .creds file, as the broker's operator issues it; empty: none.
	Credentials string
	// CA names a PEM file of the authorities that the servers' certificates are checked
	// against; empty: those of the system. It demands TLS, like tls://.
	CA string
	// Cert and Key name PEM files of a certificate that the servers check; both or none.
	Cert, Key string
	// StreamBytes and AckWait are those of Config.
	StreamBytes int64
	AckWait     time.Duration
}

// OpenExternal connects to an external broker. Settings that can not be used are an
// error. A broker that is away, or refuses us, is not: every call fails at once
// until it is there, and stream and consumer are made then. Ping tells. Close it.
func OpenExternal(ctx context.Context, external ExternalConfig, logger *slog.Logger) (*Broker, error) {
	options, err := external.options()
	if err != nil {
		return nil, fmt.Errorf("open external broker: %w", err)
	}
	logger = logger.With("servers", external.places())
	config := Config{StreamBytes: external.StreamBytes, AckWait: external.AckWait}
	b, err := connect(config.withDefaults(), wantedReplicas, logger, options...)
	if err != nil {
		return nil, fmt.Errorf("open external broker: %w", err)
	}
	if b.link.up() == nil {
		// Whoever needs stream and consumer first tries to make them again.
		if err := b.ready(ctx); err != nil {
			logger.WarnContext(ctx, "stream and consumer can not be made yet, trying again when they are needed", "error", err,
				"hint", "start the servers with JetStream on, and with room for the stream")
		}
	}
	return b, nil
}

// options checks the settings, and gives them as NATS wants them.
func (c *ExternalConfig) options() ([]nats.Option, error) {
	servers, err := serversOf(c.URL)
	if err != nil {
		return nil, err
	}
	options := []nats.Option{
		func(o *nats.Options) error { o.Servers = servers; return nil },
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // a password may be set right at the broker
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(missedPings),
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	switch {
	case (c.Cert == "") != (c.Key == ""):
		return nil, errors.New("a client certificate needs two files, certificate and key: give both or none")
	case c.Cert != "":
		options = append(options, nats.ClientCert(c.Cert, c.Key))
	}
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	// The files are read again at every connection, so that they can be renewed. What
	// can not be read now is a mistake.
	var trial nats.Options
	for _, option := range options {
		if err := option(&trial); err != nil {
			return nil, err
		}
	}
	if err := checkCredentials(c.Credentials, &trial); err != nil {
		return nil, err
	}
	return options, nil
}

// places gives the hosts of the list, without what else is in its URLs.
func (c *ExternalConfig) places() string {
	servers, _ := serversOf(c.URL) // those are good
	for i := range servers {
		if server, err := url.Parse(servers[i]); err == nil {
			servers[i] = server.Host
		}
	}
	return strings.Join(servers, ",")
}

// serversOf splits a list of URLs. The errors quote nothing of it, and those of
// net/url are left out: where a password has a special character in it, they
// would quote the password.
func serversOf(list string) ([]string, error) {
	const want = "want nats://[user:password@]host[:port] or tls://..., special characters of a password as %XX"
	if strings.TrimSpace(list) == "" {
		return nil, errors.New("no URL is given: " + want)
	}
	servers := strings.Split(list, ",")
	if len(servers) > maxURLs {
		return nil, fmt.Errorf("%d URLs are given, %d at most", len(servers), maxURLs)
	}
	for i := range servers {
		servers[i] = strings.TrimSpace(servers[i])
		server, err := url.Parse(servers[i])
		if err != nil || server.Scheme != "nats" && server.Scheme != "tls" || server.Hostname() == "" ||
			strings.Trim(server.Path, "/") != "" || server.RawQuery != "" || server.Fragment != "" {
			return nil, fmt.Errorf("URL %d of %d can not be used: %s", i+1, len(servers), want)
		}
	}
	return servers, nil
}

// checkCredentials reads the file as a connection would.
func checkCredentials(path string, options *nats.Options) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	_ = file.Close() // nothing was written
	_, err = options.UserJWT()
	if err == nil {
		_, err = options.SignatureCB(nil)
	}
	if err != nil {
		return fmt.Errorf("credentials file %s holds no user and key, want it as the broker's operator issues it: %w", path, err)
	}
	return nil
}
