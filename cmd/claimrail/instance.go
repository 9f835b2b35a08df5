package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// instanceHeader is the header by which /readyz names the run of a server that stores its claims in a data
// directory, as its lock file does. A URL alone does not say whose it is: what is in the file may be of a
// server before, and what is on a port in one container is another server in the next. Claims go to no
// server by it that does not prove to be the one.
const instanceHeader = "Claimrail-Instance"

// readyPath is where it is asked for.
const readyPath = "/readyz"

// named has a server say which one it is; "": none that anybody looks for.
func named(server http.Handler, instance string) http.Handler {
	if instance == "" {
		return server
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == readyPath {
			w.Header().Set(instanceHeader, instance)
		}
		server.ServeHTTP(w, r)
	})
}

// openServing has the server that has the data directory import the files, as with --server. Where it is no
// server that stores its claims there, or it is not ready, the directory is in use.
func (p *program) openServing(ctx context.Context, taken *inUseError) (importer, error) {
	refused := inUse(taken.dir, taken.by)
	if taken.by.instance == "" {
		return nil, refused
	}
	for _, s := range newSettings() {
		if !s.serve && p.settings[s.variable].set && s.variable != "CLAIMRAIL_LOG_LEVEL" && s.variable != "CLAIMRAIL_DATA_DIR" {
			return nil, misuse(fmt.Errorf("--%s: %w, which would import the files and has settings of its own", s.flag, taken),
				"leave it out, or stop the server")
		}
	}
	server := "http://" + reachable(strings.TrimPrefix(taken.by.url, "http://"))
	asked, err := newRemote(server)
	if err != nil {
		return nil, refused
	}
	defer func() { _ = asked.close() }()
	if instance, err := asked.instance(ctx); err != nil || instance != taken.by.instance {
		return nil, errors.Join(refused, ctx.Err())
	}
	fmt.Fprintf(p.stderr, "data directory %s is in use by 'claimrail serve': the server at %s imports what is given\n", taken.dir, server)
	p.server = server
	return p.openRemoteImporter()
}

// instance asks a server which one it is; "" where it is not ready.
func (r *remote) instance(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.JoinPath(readyPath).String(), nil)
	if err != nil {
		return "", err
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", nil
	}
	return answer.Header.Get(instanceHeader), nil
}
