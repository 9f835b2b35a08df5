package pgtest_test

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// An answer to COMMIT is cut at the byte that was asked for, in however many pieces it comes from
// the server.
func TestProxyCutsAtTheByte(t *testing.T) {
	t.Parallel()
	const answer = "C\x00\x00\x00\x0bCOMMIT\x00Z\x00\x00\x00\x05I"
	for first := 12; first <= pgtest.CommitAnswer; first++ { // how much of it comes at first
		for after := range pgtest.CommitAnswer + 1 {
			if got := through(t, answer[:first], answer[first:], after); got != answer[:after] {
				t.Errorf("%d bytes come first, cut after %d: got %q, want %q", first, after, got, answer[:after])
			}
		}
	}
}

// through gives what a client gets of an answer that a server sends in two pieces, by way of a proxy
// that cuts it.
func through(t *testing.T, one, two string, after int) string {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	proxy := pgtest.NewProxy(t, fmt.Sprintf("postgres://u@%s/d", server.Addr()))
	proxy.CutCommit(after)
	way, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := way.Query()
	client, err := net.Dial("tcp", net.JoinHostPort(query.Get("host"), query.Get("port")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, one); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, min(after, len(one)))
	if _, err := io.ReadFull(client, got); err != nil {
		t.Fatalf("read the first piece: %v", err)
	}
	_, _ = io.WriteString(conn, two) // the proxy may have closed it
	rest, _ := io.ReadAll(client)    // as far as it came
	return string(got) + string(rest)
}
