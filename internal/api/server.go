package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the server. A response is small; whoever does not take it in writeTimeout is
// cut off. Imports come in, and are watched, for as long as something moves: see upload.go.
const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 60 * time.Second
	writeTimeout    = 120 * time.Second // from the header's end: the slowest body, the commit and the answer
	maxHeaderBytes  = 16 << 10
	maxConnections  = 4096
	shutdownTimeout = 10 * time.Second
)

// Serve answers requests on the listener until ctx ends. Then it goes on for delay, not ready, and each
// answer ends its connection: clients go elsewhere, and none sends into a connection that is being
// closed. Then it takes no more, waits shutdownTimeout at most for requests under way, and returns nil, or
// what went wrong.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, delay time.Duration, logger *slog.Logger) error {
	return serve(ctx, listener, maxConnections, newServer(handler, logger), delay)
}

// newServer gives the server with its limits.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// serve is Serve with most connections at once; more wait.
func serve(ctx context.Context, listener net.Listener, most int, server *http.Server, delay time.Duration) error {
	server.Handler = lastAnswers(ctx, server.Handler)
	server.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(listener, most)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP on %s while it stops: %w", listener.Addr(), err)
	case <-time.After(delay):
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ending)
	if err != nil {
		err = errors.Join(fmt.Errorf("end HTTP: requests still under way after %s: %w", shutdownTimeout, err), server.Close())
	}
	<-served
	return err
}

// lastAnswers ends the connection of each request that comes once ctx has ended.
func lastAnswers(ctx context.Context, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}
