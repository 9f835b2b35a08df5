package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/joho/godotenv"
	"github.com/spf13/pflag"

	"github.com/claimrail/claimrail/internal/claim"
)

// load reads the configuration of an environment and of flags, as serve does.
func load(t *testing.T, environ []string, flags ...string) (config, error) {
	t.Helper()
	p := &program{environ: environ, stderr: io.Discard}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	p.bindShared(set)
	p.bindServe(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return p.loadConfig()
}

// Without any setting there are the defaults, and those of the rules are not "off".
func TestDefaults(t *testing.T) {
	t.Parallel()
	want := config{
		Listen: "127.0.0.1:8000", DataDir: "./data", TopProvidersPerMinute: 10, Rules: claim.DefaultRules(), Role: roleAll, StopDelay: 250 * time.Millisecond,
	}
	for _, environ := range [][]string{nil, {"CLAIMRAIL_LISTEN=", "CLAIMRAIL_RULES=", "CLAIMRAIL_TOP_PROVIDERS_PER_MINUTE="}} {
		got, err := load(t, environ)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%q: got -, want +:\n%s", environ, diff)
		}
	}
}

// A flag goes before the environment.
func TestFlagGoesFirst(t *testing.T) {
	t.Parallel()
	got, err := load(t, []string{"CLAIMRAIL_LISTEN=127.0.0.1:1", "CLAIMRAIL_LOG_LEVEL=warn"}, "--listen", "[::1]:2", "--rules=npi-check-digit=error")
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != "[::1]:2" || got.Rules.NPICheckDigit != claim.Error || got.LogLevel.Level().String() != "WARN" {
		t.Errorf("got %+v", got)
	}
}

// Everything that is wrong is named at once, with its place, and no password is shown.
func TestBadValues(t *testing.T) {
	t.Parallel()
	_, err := load(t, []string{
		"CLAIMRAIL_LISTN=x", "CLAIMRAIL_TOP_PROVIDERS_PER_MINUTE=0", "CLAIMRAIL_DATABASE_URL=mysql://u:hunter2@h/d",
		"CLAIMRAIL_PAYMENTS_DATABASE_URL=u:hunter2@h/d", "CLAIMRAIL_NATS_URL=http://u:hunter2@h", "CLAIMRAIL_ROLE=claims", "CLAIMRAIL_ALLOW_UNAUTHENTICATED=perhaps",
		"CLAIMRAIL_STOP_DELAY=5001ms", "OTHER=1",
	}, "--log-level", "loud", "--rules", "npi=error", "--listen", "0.0.0.0:8000")
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"CLAIMRAIL_LISTN: there is no such setting, did you mean CLAIMRAIL_LISTEN?", "CLAIMRAIL_TOP_PROVIDERS_PER_MINUTE: want a whole number from 1 to 1000, got \"0\"",
		"CLAIMRAIL_DATABASE_URL: ", "CLAIMRAIL_PAYMENTS_DATABASE_URL: ", "CLAIMRAIL_NATS_URL: ", "CLAIMRAIL_ROLE: want all, claim-process or payments", "CLAIMRAIL_ALLOW_UNAUTHENTICATED: want true or false",
		"CLAIMRAIL_STOP_DELAY: want a time from 0s to 5s, such as 250ms, got \"5001ms\"",
		"--log-level: want debug, info, warn or error", "--rules: unknown rule", "--listen: \"0.0.0.0:8000\" is not a loopback address",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "OTHER") {
		t.Errorf("got %v", err)
	}
	var stderr bytes.Buffer
	if code := report(&stderr, err); code != exitMisuse {
		t.Errorf("exit code: got %d, want %d", code, exitMisuse)
	}
}

// A service that runs alone needs a broker that the other one can reach; both together
// do not.
func TestRoles(t *testing.T) {
	t.Parallel()
	const nats = "CLAIMRAIL_NATS_URL=nats://127.0.0.1:4222"
	for _, c := range []struct {
		environ []string
		ok      bool
		dataDir bool // serve keeps something there
	}{
		{nil, true, true},
		{[]string{"CLAIMRAIL_ROLE=all", nats}, true, true},
		{[]string{"CLAIMRAIL_ROLE=claim-process"}, false, false},
		{[]string{"CLAIMRAIL_ROLE=payments"}, false, false},
		{[]string{"CLAIMRAIL_ROLE=payments", nats}, true, true},
		{[]string{"CLAIMRAIL_ROLE=payments", nats, "CLAIMRAIL_PAYMENTS_DATABASE_URL=postgres://h/d"}, true, false},
		{[]string{"CLAIMRAIL_ROLE=claim-process", nats, "CLAIMRAIL_DATABASE_URL=postgresql://h/d"}, true, false},
	} {
		got, err := load(t, c.environ)
		if err != nil {
			t.Fatal(err) // it is serve that asks for a broker; migrate has no need of one
		}
		err = got.checkRole()
		if (err == nil) != c.ok {
			t.Errorf("%v: got %v, want accepted: %v", c.environ, err, c.ok)
		} else if c.ok && got.usesDataDir() != c.dataDir {
			t.Errorf("%v: got uses data directory %v, want %v", c.environ, got.usesDataDir(), c.dataDir)
		}
	}
}

// Only loopback is listened on, unless more is allowed.
func TestCheckListen(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:8000": true, "127.9.9.9:1": true, "localhost:0": true, "LOCALHOST:1": true, "[::1]:8000": true,
		"0.0.0.0:8000": false, ":8000": false, "[::]:1": false, "192.168.1.5:1": false, "example.org:1": false, "localhost.example.org:1": false,
		"127.0.0.1": false, "127.0.0.1:": false, "127.0.0.1:http": false, "127.0.0.1:65536": false, "127.0.0.1:-1": false, "::1:1": false,
	} {
		if err := checkListen(address, false); (err == nil) != want {
			t.Errorf("%s: got %v, want allowed %v", address, err, want)
		}
	}
	if err := checkListen("0.0.0.0:8000", true); err != nil {
		t.Errorf("allowed: got %v", err)
	}
}

// In a Kubernetes namespace with a service named claimrail, its service links are not
// taken for settings; elsewhere they are mistakes.
func TestServiceLinks(t *testing.T) {
	t.Parallel()
	links := []string{
		"CLAIMRAIL_SERVICE_HOST=10.0.0.1", "CLAIMRAIL_SERVICE_PORT_HTTP=8000", "CLAIMRAIL_PORT=tcp://10.0.0.1:8000", "CLAIMRAIL_PORT_8000_TCP_ADDR=10.0.0.1",
	}
	if _, err := load(t, append(links, "KUBERNETES_SERVICE_HOST=10.0.0.2")); err != nil {
		t.Errorf("inside: got %v", err)
	}
	if _, err := load(t, links); err == nil {
		t.Error("outside: got no error")
	}
}

// .env.example holds every setting with its default, as the configuration has them.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", ".env.example")
	want := envExample()
	if flag.Lookup(updateFlag).Value.String() == "true" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("got -, want + (-update writes it):\n%s", diff)
	}
	variables, err := godotenv.UnmarshalBytes(got)
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for name, value := range variables {
		environ = append(environ, name+"="+value)
	}
	loaded, err := load(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded, defaults); diff != "" {
		t.Errorf("as .env: got -, defaults +:\n%s", diff)
	}
}

// The names that serve goes by are read one by one, and what can not be a name is refused.
func TestAllowHosts(t *testing.T) {
	t.Parallel()
	got, err := load(t, []string{"CLAIMRAIL_ALLOW_HOSTS=claims.example.org, 10.0.0.5:8000"})
	if diff := cmp.Diff(got.AllowHosts, []string{"claims.example.org", "10.0.0.5:8000"}); err != nil || diff != "" {
		t.Errorf("got %v -, want +:\n%s", err, diff)
	}
	for _, text := range []string{"http://claims.example.org", "*.example.org", "a,,b", "a b"} {
		if _, err := load(t, nil, "--allow-hosts", text); err == nil || !strings.Contains(err.Error(), "--allow-hosts: want names such as") {
			t.Errorf("%q: got %v, want it refused with what would be right", text, err)
		}
	}
	for listen, want := range map[string]bool{"127.0.0.1:0": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": false, ":1": false} {
		if c := (&config{Listen: listen}); c.listensOnLoopback() != want {
			t.Errorf("%s: got loopback %t, want %t", listen, !want, want)
		}
	}
}
