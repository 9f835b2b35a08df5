package api

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that is idle is closed after a minute and not before.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		listener.conn <- server
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		go func() { ended <- serve(ctx, listener, 1, newServer(handler, slog.New(slog.DiscardHandler)), 0) }()
		go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
		answered := time.Now()
		if _, err := io.ReadAll(client); err != nil {
			t.Errorf("read to the end of the connection: %v", err)
		}
		if got := time.Since(answered); got != 60*time.Second {
			t.Errorf("the connection was closed after %v, want 60 s", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// A server that is to stop answers what still comes for the time it was given, on connections that it
// has and on new ones, says that it is not ready, and ends each connection with its answer.
func TestStopDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const delay = 250 * time.Millisecond
		listener := &oneConn{conn: make(chan net.Conn, 2), closed: make(chan struct{})}
		dial := func() net.Conn {
			client, server := net.Pipe()
			listener.conn <- server
			return client
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		handler := New(Config{Logger: slog.New(slog.DiscardHandler), Metrics: http.NotFoundHandler(), Observe: func(string, string, int, time.Duration) {}})
		go func() { ended <- serve(ctx, listener, 2, newServer(handler, slog.New(slog.DiscardHandler)), delay) }()
		ask := func(conn net.Conn, path string) (status int, last bool) {
			go func() { _, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n") }()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("ask for %s: %v", path, err)
			}
			_, _ = io.ReadAll(response.Body)
			return response.StatusCode, response.Close
		}
		kept := dial()
		for _, path := range []string{healthPath, readyPath} {
			if status, last := ask(kept, path); status != http.StatusOK || last {
				t.Fatalf("%s: got %d, connection ends: %t, want 200 and that it does not", path, status, last)
			}
		}
		stop()
		stopped := time.Now()
		<-time.After(delay - time.Millisecond)
		if status, last := ask(kept, healthPath); status != http.StatusOK || !last {
			t.Errorf("on a connection that is there: got %d, connection ends: %t, want 200 and that it does", status, last)
		}
		if status, last := ask(dial(), readyPath); status != http.StatusServiceUnavailable || !last {
			t.Errorf("on a new connection: got %d, connection ends: %t, want 503 and that it does", status, last)
		}
		if err := <-ended; err != nil || time.Since(stopped) != delay {
			t.Errorf("serve: got %v after %v, want its end after %v", err, time.Since(stopped), delay)
		}
	})
}

// Beyond the connections that the server takes, one more waits, and is answered once
// another one has ended.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	go func() { ended <- serve(ctx, listener, 2, newServer(handler, slog.New(slog.DiscardHandler)), 0) }()
	ask := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		return conn
	}
	answered := func(conn net.Conn, within time.Duration) bool {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	first, second := ask(), ask()
	if !answered(first, time.Minute) || !answered(second, time.Minute) {
		t.Fatal("the connections within the limit are not answered")
	}
	late := ask()
	if answered(late, 300*time.Millisecond) {
		t.Error("a connection beyond the limit is answered")
	}
	_ = first.Close()
	if !answered(late, time.Minute) {
		t.Error("a connection that waited is not answered, once another one has ended")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// oneConn is a listener that has one connection.
type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
