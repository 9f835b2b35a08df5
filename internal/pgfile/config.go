package pgfile

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// MaxConns bounds the connections of one pool.
const MaxConns = 100

// Limits and settings of every connection, where the URL gives no others.
const (
	// defaultConns is the size of a pool. Two committers are enough to keep the disk
	// busy; the others read.
	defaultConns = 10
	// connectTimeout bounds the making of a connection.
	connectTimeout = 5 * time.Second
	// statementTimeout is how long the server works on one statement.
	statementTimeout = 10 * time.Second
	// lockTimeout is how long a statement waits for a row that another one has.
	lockTimeout = 5 * time.Second
	// idleTimeout is how long a transaction may wait for its client.
	idleTimeout = 30 * time.Second
	// readTimeout and writeTimeout are how long we wait for the server; longer than
	// the server lets anything last, so that in the end they speak of a lost one.
	readTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
)

// schemaName is what a schema may be called: it stands in statements unquoted.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// poolConfig reads a URL and adds the settings that it does not give. Errors show no
// part of the URL: whatever is wrong with it may be what makes the password readable.
func poolConfig(url, schema string) (*pgxpool.Config, string, error) {
	config, err := pgxpool.ParseConfig(url)
	var file *fs.PathError // sslrootcert, say
	switch {
	case errors.As(err, &file):
		return nil, "", fmt.Errorf("read database URL: it names a file that can not be read: %w", file)
	case err != nil:
		return nil, "", errors.New("read database URL: not of the form postgres://user:password@host:port/database?name=value, or a value in it is wrong")
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = defaultConns
	}
	if config.MaxConns > MaxConns {
		return nil, "", fmt.Errorf("read database URL: pool_max_conns is %d, at most %d", config.MaxConns, MaxConns)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	parameters := config.ConnConfig.RuntimeParams
	for name, value := range settings(schema) {
		if parameters[name] == "" {
			parameters[name] = value
		}
	}
	if schema = parameters["search_path"]; !schemaName.MatchString(schema) {
		return nil, "", fmt.Errorf("read database URL: search_path %q: want one schema, of lower-case letters, digits and _", schema)
	}
	config.ConnConfig.OnNotice = noteNoStandby
	return config, schema, nil
}

// settings are what every connection asks for. Each statement of the engines is
// written for one plan, over an index; a plan that was made while a table was empty
// must not be kept once it is not, so the others are ruled out.
func settings(schema string) map[string]string {
	return map[string]string{
		"application_name":                    "claimrail",
		"search_path":                         schema,
		"synchronous_commit":                  "on",
		"default_transaction_isolation":       "read committed",
		"timezone":                            "UTC",
		"statement_timeout":                   milliseconds(statementTimeout),
		"lock_timeout":                        milliseconds(lockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idleTimeout),
		"jit":                                 "off",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
