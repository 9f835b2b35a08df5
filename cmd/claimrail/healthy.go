package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
)

// Limits of the question.
const (
	// healthyTimeout is longer than the server's own probes take, and shorter than those
	// that run the command wait for it.
	healthyTimeout = 5 * time.Second
	// maxHealthBytes is many times what an answer has.
	maxHealthBytes = 64 << 10
)

func newHealthyCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "healthy",
		Short: "Ask a server whether it is ready",
		Long: `Ask a server whether it is ready: the one at --server, else the one that listens
where CLAIMRAIL_LISTEN says, on this machine. It answers within 5 seconds. This is the
health check of a container, in which there is nothing else that could ask.

Exit code 1 means that the server is not ready, or gave no answer.`,
		Example: "  claimrail healthy\n  claimrail healthy --server http://127.0.0.1:9000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.loadConfig()
			if err == nil && p.server != "" {
				err = p.checkServer()
			}
			if err != nil {
				return err
			}
			return p.askReady(cmd.Context(), c)
		},
	}
}

// askReady asks /readyz, and shows the answer where it is that of a ready server.
func (p *program) askReady(ctx context.Context, c config) error {
	server := p.server
	if server == "" {
		server = "http://" + reachable(c.Listen)
	}
	r, err := newRemote(server)
	if err != nil {
		return err
	}
	defer func() { _ = r.close() }()
	ctx, cancel := context.WithTimeout(ctx, healthyTimeout)
	defer cancel()
	health, err := r.ready(ctx)
	if err != nil {
		return err
	}
	if p.json {
		err = writeJSON(p.stdout, health)
	} else {
		_, err = fmt.Fprintln(p.stdout, health.Status)
	}
	return err
}

// ready asks /readyz. A server that is not ready is an error, which names what it lacks.
func (r *remote) ready(ctx context.Context) (health api.Health, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.JoinPath(readyPath).String(), nil)
	if err != nil {
		return health, errors.New("make request: the URL of --server can not be used")
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return health, r.unreachable(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxHealthBytes))
	if err != nil {
		return health, r.unreachable(err)
	}
	if err := json.Unmarshal(text, &health); err != nil || health.Status == "" || answer.StatusCode != http.StatusOK && health.Checks == nil {
		return health, hint(fmt.Errorf("%s answers %s, which is not an answer of claimrail", r.server.Redacted(), answer.Status),
			"is --server the URL of 'claimrail serve'?")
	}
	if answer.StatusCode == http.StatusOK {
		return health, nil
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(health.Checks)) {
		if state := health.Checks[name]; state != "ok" {
			missing = append(missing, name+" "+state)
		}
	}
	return health, hint(fmt.Errorf("%s is %s: %s", r.server.Redacted(), health.Status, strings.Join(missing, ", ")), "its log says why")
}

// reachable turns an address to listen on into one to ask: all addresses of this machine
// include its loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return listen
	}
	return net.JoinHostPort("127.0.0.1", port)
}
