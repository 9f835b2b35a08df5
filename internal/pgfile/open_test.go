package pgfile_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// advice gives what an error says is to be done; nothing where it says nothing.
func advice(err error) string {
	if refused, ok := errors.AsType[*pgfile.OpenError](err); ok {
		return refused.Advice
	}
	return ""
}

// checkRefusal checks an error of Open: what it says, what it advises, its kind, and that
// each is one line that holds no password.
func checkRefusal(t *testing.T, err error, problem, advised string, kind error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), problem) || !strings.Contains(advice(err), advised) {
		t.Errorf("got %v, advice %q; want %q, advice %q", err, advice(err), problem, advised)
		return
	}
	if kind != nil && !errors.Is(err, kind) || kind == nil && errors.Is(err, pgfile.ErrUnavailable) {
		t.Errorf("%v: got the wrong kind, want %v", err, kind)
	}
	if text := err.Error() + advice(err); strings.ContainsAny(text, "\n\t") || strings.Contains(text, "s3cret") {
		t.Errorf("got %q, want one line without the password", text)
	}
}

// strict is a server that listens, asks for passwords and speaks no TLS.
func strict(t *testing.T, connections int) (owner, clerk string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	_ = listener.Close()
	access := filepath.Join(t.TempDir(), "pg_hba.conf")
	const rules = "local all all trust\nhostssl all tlsonly 127.0.0.1/32 scram-sha-256\nhost all clerk 127.0.0.1/32 scram-sha-256\n"
	// The server is another user where we are root.
	if err := errors.Join(os.WriteFile(access, []byte(rules), 0o644), os.Chmod(filepath.Dir(filepath.Dir(access)), 0o755)); err != nil {
		t.Fatal(err)
	}
	owner = pgtest.StartOwn(t, "listen_addresses=127.0.0.1", "port="+port, "hba_file="+access,
		"max_connections="+strconv.Itoa(connections), "superuser_reserved_connections=0", "max_wal_senders=0").URL()
	pgtest.Exec(t, owner, "CREATE ROLE clerk LOGIN PASSWORD 's3cret'", "CREATE ROLE tlsonly LOGIN PASSWORD 's3cret'")
	return owner, "postgres://clerk:s3cret@127.0.0.1:" + port + "/postgres"
}

// Whatever a server answers to somebody who comes with the wrong URL, Open says in one
// line what it is and in another what to do.
func TestRefusedByServer(t *testing.T) {
	t.Parallel()
	const connections = 5
	owner, clerk := strict(t, connections)
	pgtest.Exec(t, owner, "CREATE SCHEMA theirs", "CREATE SCHEMA closed AUTHORIZATION clerk", "REVOKE ALL ON SCHEMA closed FROM clerk",
		"CREATE DATABASE shut", "REVOKE CONNECT ON DATABASE shut FROM PUBLIC")
	for name, test := range map[string]struct{ url, problem, advice string }{
		"wrong password": {strings.Replace(clerk, "s3cret", "s3cret2", 1), `refuses the user: password authentication failed for user "clerk" (SQLSTATE 28P01)`, "correct user, password"},
		"unknown user":   {strings.Replace(clerk, "clerk", "stranger", 1), "refuses the user: no pg_hba.conf entry", "pg_hba.conf"},
		"TLS is wanted":  {strings.Replace(clerk, "clerk", "tlsonly", 1), "no encryption (SQLSTATE 28000)", "sslmode"},
		"TLS is refused": {clerk + "?sslmode=require", "no TLS with 127.0.0.1:", "set sslmode"},
		"no database":    {strings.Replace(clerk, "/postgres", "/nothing", 1), `database "nothing" does not exist (SQLSTATE 3D000)`, "CREATE DATABASE"},
		"shut database":  {strings.Replace(clerk, "/postgres", "/shut", 1), `user "clerk" may not make or use it: permission denied for database "shut"`, "roles.sql"},
		"may not make":   {clerk, `user "clerk" may not make or use it: permission denied for database postgres (SQLSTATE 42501)`, "roles.sql"},
		"not its own":    {clerk + "?search_path=theirs", "it belongs to another role", "roles.sql"},
		"may not create": {clerk + "?search_path=closed", "it belongs to another role", "roles.sql"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := try(t, test.url, first)
			checkRefusal(t, err, test.problem, test.advice, nil)
		})
	}
	taken := make([]*pgx.Conn, 0, connections)
	for range connections {
		conn, err := pgx.Connect(t.Context(), owner)
		if err != nil {
			break // a slot of a try before is not free yet
		}
		taken = append(taken, conn)
	}
	_, err := try(t, clerk, first)
	checkRefusal(t, err, "no connection left: sorry, too many clients already (SQLSTATE 53300)", "max_connections", pgfile.ErrUnavailable)
	for _, conn := range taken {
		_ = conn.Close(context.Background())
	}
}

// Where no server answers, or something else does, Open names the place and what happened
// there; a URL that says nothing useful is refused without being shown.
func TestNoServer(t *testing.T) {
	t.Parallel()
	listen := func(talk func(net.Conn)) string {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				talk(conn)
			}
		}()
		return listener.Addr().String()
	}
	silent := listen(func(conn net.Conn) { t.Cleanup(func() { _ = conn.Close() }) })
	curt := listen(func(conn net.Conn) { _ = conn.Close() })
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	selfmade := listen(func(conn net.Conn) { // says yes to TLS, and shows a certificate of its own
		_, _ = io.ReadFull(conn, make([]byte, 8))
		_, _ = conn.Write([]byte("S"))
		_ = tls.Server(conn, &tls.Config{Certificates: web.TLS.Certificates}).Handshake()
		_ = conn.Close()
	})
	for name, test := range map[string]struct {
		url, problem, advice string
		kind                 error
	}{
		"nobody":      {"127.0.0.1:1/d?sslmode=disable", "can not connect to 127.0.0.1:1: connection refused", "start the server", pgfile.ErrUnavailable},
		"two nobodys": {"127.0.0.1:1,127.0.0.1:2/d", "can not connect to 127.0.0.1:1, 127.0.0.1:2: connection refused", "start the server", pgfile.ErrUnavailable},
		"socket":      {"/d?host=/nowhere", "can not connect to /nowhere/.s.PGSQL.5432: no such file or directory", "start the server", pgfile.ErrUnavailable},
		"no name":     {"nobody.invalid/d", "can not connect to nobody.invalid:5432: host nobody.invalid: ", "correct the host", pgfile.ErrUnavailable},
		"silent":      {silent + "/d?sslmode=disable&connect_timeout=1", "can not connect to " + silent + ": no answer within 1s", "open the network", pgfile.ErrUnavailable},
		"curt":        {curt + "/d?sslmode=disable", "can not connect to " + curt + ": ", "", pgfile.ErrUnavailable},
		"certificate": {selfmade + "/d?sslmode=verify-full", "no TLS with " + selfmade + ": x509: certificate signed by unknown authority", "sslrootcert", nil},
		"no file":     {"127.0.0.1/d?sslrootcert=/no/ca.pem", "names a file that can not be read: open /no/ca.pem", "", nil},
		"no URL":      {"[bad/d", "read database URL: not of the form", "", nil},
		"too many":    {"h/d?pool_max_conns=101", "at most 100", "", nil},
		"two schemas": {"h/d?search_path=a,b", "want one schema", "", nil},
		"bad schema":  {"h/d?search_path=a%22;%20DROP", "want one schema", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := try(t, "postgres://u:s3cret@"+test.url, first)
			checkRefusal(t, err, test.problem, test.advice, test.kind)
		})
	}
}

// A server or a URL whose settings lose committed rows is refused, whether they were
// made for the database, the role or the connection; Unsafe lets them pass, loudly. What
// the database has is overruled where it can be.
func TestUnsafeSettingsAreRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	for _, value := range []string{"off", "local"} {
		unsafe := pgtest.With(t, url, "synchronous_commit", value)
		if _, err := try(t, unsafe, first); err == nil || !strings.Contains(err.Error(), "synchronous_commit is "+value) {
			t.Errorf("synchronous_commit %s: got %v, want it refused", value, err)
		}
		var logged bytes.Buffer
		options := pgfile.Options{URL: unsafe, Schema: "toy", Table: "parent", Migrations: migrations(first), Unsafe: true}
		schema, err := pgfile.Open(t.Context(), options, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		_ = schema.Close()
		if got := logged.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "synchronous_commit is "+value) {
			t.Errorf("log: got %q, want an error that names the setting", got)
		}
	}
	name := get[string](t, open(t, url, first), "SELECT current_database()")
	pgtest.Exec(t, url, "ALTER DATABASE "+name+" SET synchronous_commit = off")
	if got := get[string](t, open(t, url, first), "SHOW synchronous_commit"); got != "on" {
		t.Errorf("synchronous_commit off for the database: got %s, want it overruled", got)
	}
}

// A server that does not write to its disk what it has committed is refused, and told how
// to do so; Unsafe lets it pass, loudly.
func TestUnsafeServerIsRefused(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"fsync", "full_page_writes"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			url := pgtest.StartOwn(t, setting+"=off").URL()
			_, err := try(t, url, first)
			checkRefusal(t, err, setting+" is off: the server could lose what it has committed", "set "+setting+" = on in postgresql.conf", nil)
			checkRefusal(t, err, setting, "CLAIMRAIL_UNSAFE=true", nil)
			var logged bytes.Buffer
			options := pgfile.Options{URL: url, Schema: "toy", Table: "parent", Migrations: migrations(first), Unsafe: true}
			schema, err := pgfile.Open(t.Context(), options, slog.New(slog.NewTextHandler(&logged, nil)))
			if err != nil {
				t.Fatal(err)
			}
			_ = schema.Close()
			if got := logged.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "UNSAFE") || !strings.Contains(got, setting+" is off") {
				t.Errorf("log: got %q, want an error that names the setting", got)
			}
		})
	}
}

// A server that only reads is not written to; those who come to look may use it.
func TestStandby(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	open(t, url, first)
	name := get[string](t, open(t, url, first), "SELECT current_database()")
	pgtest.Exec(t, url, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	_, err := try(t, url, first)
	checkRefusal(t, err, "the server only reads, as a standby does", "target_session_attrs=read-write", pgfile.ErrUnavailable)
	look(t, url, first)
}

// existing opens the schema "toy" to look at it.
func existing(t *testing.T, url string, texts ...string) (*pgfile.Schema, error) {
	t.Helper()
	options := pgfile.Options{URL: url, Schema: "toy", Table: "parent", Migrations: migrations(texts...)}
	schema, err := pgfile.OpenExisting(t.Context(), options)
	if err == nil {
		t.Cleanup(func() { _ = schema.Close() })
	}
	return schema, err
}

func look(t *testing.T, url string, texts ...string) *pgfile.Schema {
	t.Helper()
	schema, err := existing(t, url, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// Who comes to look makes nothing and migrates nothing, says what has to be done, and can
// read, once the schema is this program's.
func TestOpenExisting(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	_, err := existing(t, url, first)
	checkRefusal(t, err, "there is no such schema", "claimrail migrate", pgfile.ErrOlderSchema)
	pgtest.Exec(t, url, "CREATE SCHEMA toy")
	_, err = existing(t, url, first)
	checkRefusal(t, err, "or nothing in it", "claimrail migrate", pgfile.ErrOlderSchema)
	old := open(t, url, first)
	_, err = existing(t, url, first, second)
	checkRefusal(t, err, "it has version 1, and this program's is 2", "claimrail migrate", pgfile.ErrOlderSchema)
	if err := old.Ping(t.Context()); err != nil {
		t.Errorf("the older program: %v", err)
	}
	if got := get[int](t, look(t, url, first), "SELECT count(*) FROM parent"); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
	open(t, url, first, second)
	_, err = existing(t, url, first)
	checkRefusal(t, err, "it has version 2, and this program knows 1", "newer", pgfile.ErrNewerSchema)
}

// A schema with somebody else's tables is left alone, whether they are migrated the same
// way as ours or not.
func TestForeignSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	const advice = "search_path"
	pgtest.Exec(t, url, "CREATE SCHEMA toy", "CREATE TABLE toy.customers (id int)")
	_, err := try(t, url, first)
	checkRefusal(t, err, "it holds 1 tables that are not claimrail's", advice, nil)
	_, err = existing(t, url, first)
	checkRefusal(t, err, "it holds 1 tables that are not claimrail's", advice, nil)
	if _, err := try(t, pgtest.With(t, url, "search_path", "other"), "-- +goose Up\nCREATE TABLE stranger (id int);\n"); err != nil {
		t.Fatal(err)
	}
	_, err = try(t, pgtest.With(t, url, "search_path", "other"), first, second)
	checkRefusal(t, err, "it has no table parent", advice, nil)
	_, err = existing(t, pgtest.With(t, url, "search_path", "other"), first)
	checkRefusal(t, err, "it has no table parent", advice, nil)
}

// A migration does not wait for ever: not for another instance that migrates, and not for a
// session that has a table locked.
func TestMigrationGivesUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	open(t, url, first)
	holder, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(context.Background()) }()
	hurried := pgtest.With(t, url, "lock_timeout", "100")
	hold := func(statement string) {
		if _, err := holder.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	hold("BEGIN; LOCK TABLE toy.parent")
	_, err = try(t, hurried, first, second)
	checkRefusal(t, err, "another session keeps a table of it locked", "pg_locks", pgfile.ErrUnavailable)
	hold("ROLLBACK; SELECT pg_advisory_lock(hashtextextended('claimrail migration toy', 0))")
	_, err = try(t, hurried, first, second)
	checkRefusal(t, err, "another instance is migrating it", "locktype advisory", pgfile.ErrUnavailable)
	hold("SELECT pg_advisory_unlock_all()")
	if err := open(t, hurried, first, second).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// Twenty instances that start at once on an empty database migrate once, and all of
// them work.
func TestTwentyStartAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.With(t, pgtest.Start(t).Database(t), "pool_max_conns", "1")
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			options := pgfile.Options{URL: url, Schema: "toy", Table: "parent", Migrations: migrations(first, second)}
			schema, err := pgfile.Open(t.Context(), options, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			if err := schema.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			_ = schema.Close()
		})
	}
	wait.Wait()
	if got := get[int](t, open(t, url, first, second), "SELECT count(*) FROM goose_db_version WHERE version_id > 0"); got != 2 {
		t.Errorf("migrations made: got %d, want 2", got)
	}
}

// A schema that a newer program has migrated is left alone, at the start and later on.
func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	old := open(t, url, first)
	if err := old.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	open(t, url, first, second)
	if err := old.Ping(t.Context()); !errors.Is(err, pgfile.ErrNewerSchema) {
		t.Errorf("ping: got %v, want %v", err, pgfile.ErrNewerSchema)
	}
	if _, err := try(t, url, first); !errors.Is(err, pgfile.ErrNewerSchema) {
		t.Errorf("open: got %v, want %v", err, pgfile.ErrNewerSchema)
	}
}

// As roles.sql has it, each service's role makes its own tables and works with them, and
// neither sees the other's.
func TestRoles(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.Start(t).Database(t)
	roles := pgtest.Roles(t, url, string(script), "claims", "payments")
	for own, other := range map[string]string{"claims": "payments", "payments": "claims"} {
		as := func(user, schema string) string {
			return pgtest.With(t, roles[user], "search_path", schema)
		}
		mine := open(t, as(own, own), first)
		if err := mine.Write(t.Context(), "insert", insert(1)); err != nil {
			t.Errorf("%s: %v", own, err)
		}
		open(t, as(other, other), first)
		err := mine.Read(t.Context(), "spy", func(ctx context.Context, pool *pgxpool.Pool) error {
			_, err := pool.Exec(ctx, "SELECT count(*) FROM "+other+".parent")
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s reads %s: got %v, want it denied", own, other, err)
		}
		if _, err := try(t, as(own, other), first); !strings.Contains(advice(err), "roles.sql") {
			t.Errorf("%s opens %s: got %v, want it denied", own, other, err)
		}
		if _, err := try(t, as(own, "third"), first); !strings.Contains(advice(err), "roles.sql") {
			t.Errorf("%s makes a schema: got %v, want it denied", own, err)
		}
	}
}
