// Package pgtest gives tests a Postgres server, and each test a database of its own.
// It stands beside the line: only tests use it. The server is a private one, made for
// the process that asks first and gone when that process ends, however it ends; or the
// one that TEST_DATABASE_URL names.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable with the URL of a server to be used. Its
// user must be allowed to make databases and roles.
const Variable = "TEST_DATABASE_URL"

// adminTimeout bounds the making of a database.
const adminTimeout = time.Minute

// Server is a Postgres server for tests.
type Server struct {
	url     string
	private bool // nobody else has it, and it is thrown away
}

// Start gives the server of this process, and makes one where there is none. A
// test that can have none fails, and is told what to do.
func Start(t testing.TB) *Server {
	t.Helper()
	found, err := thisMachine().server(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// URL gives the URL of the server's own database, as its owner.
func (s *Server) URL() string { return s.url }

// Database makes an empty database and gives its URL. Where the server is not a
// private one, the database goes with the test.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.create(t, "template0")
}

// Template is a database that others are copied from.
type Template struct {
	server *Server
	name   string
	mutex  sync.Mutex // one copy at a time
}

// Template makes an empty database, has fill fill it, and gives it as a template. fill
// must close its connections.
func (s *Server) Template(t testing.TB, fill func(url string)) *Template {
	t.Helper()
	address := s.create(t, "template0")
	fill(address)
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatalf("read URL of template: %v", err)
	}
	return &Template{server: s, name: strings.TrimPrefix(parsed.Path, "/")}
}

// Clone makes a copy of the template and gives its URL.
func (p *Template) Clone(t testing.TB) string {
	t.Helper()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.server.create(t, p.name)
}

// Exec runs statements as the server's owner, in the database of the URL.
func Exec(t testing.TB, address string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), adminTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatalf("connect to test database: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatalf("run %q: %v", statement, err)
		}
	}
}

// rolePrefix starts the names of the project's roles.
const rolePrefix = "claimrail_"

// Roles runs a script that makes the roles claimrail_NAME in the database of the URL, and
// gives the URL for each name. A server may be shared, so the roles are of the test's own,
// called otherwise and with a password, and go with the test.
func Roles(t testing.TB, address, script string, names ...string) map[string]string {
	t.Helper()
	prefix, password := "test_"+strings.ToLower(rand.Text()[:12])+"_", rand.Text()
	t.Cleanup(func() {
		for _, name := range names {
			Exec(t, address, "DROP OWNED BY "+prefix+name+" CASCADE", "DROP ROLE "+prefix+name)
		}
	})
	Exec(t, address, strings.ReplaceAll(script, rolePrefix, prefix))
	urls := make(map[string]string, len(names))
	for _, name := range names {
		Exec(t, address, "ALTER ROLE "+prefix+name+" PASSWORD '"+password+"'")
		urls[name] = With(t, address, "user", prefix+name, "password", password)
	}
	return urls
}

func (s *Server) create(t testing.TB, template string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:12])
	Exec(t, s.url, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template))
	if !s.private { // a private server goes as a whole; to drop each database takes a checkpoint
		t.Cleanup(func() { Exec(t, s.url, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)) })
	}
	address, err := url.Parse(s.url)
	if err != nil {
		t.Fatalf("read %s: %v", Variable, err)
	}
	address.Path = "/" + name
	return address.String()
}

// With gives the URL with parameters: name and value, in turn.
func With(t testing.TB, address string, parameters ...string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatalf("read URL of test database: %v", err)
	}
	query := parsed.Query()
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	parsed.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // Postgres takes a plus for a plus
	return parsed.String()
}
