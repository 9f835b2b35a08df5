package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/joho/godotenv"
	"github.com/spf13/pflag"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/claim"
)

// config is everything that can be set. The struct is the one home of a setting: its
// variable, its flag, its help and its place in .env.example are made of the tags
// env, envDefault, flag, role and doc. An empty value stands for the default.
type config struct {
	Listen string `env:"CLAIMRAIL_LISTEN" envDefault:"127.0.0.1:8000" flag:"listen" role:"serve" arg:"HOST:PORT" doc:"address that serve listens on; other than loopback only with allow-unauthenticated"`

	DataDir string `env:"CLAIMRAIL_DATA_DIR" envDefault:"./data" flag:"data-dir" arg:"DIR" doc:"directory of the embedded databases and of the embedded broker"`

	DatabaseURL string `env:"CLAIMRAIL_DATABASE_URL" flag:"database-url" arg:"URL" doc:"claims database, postgres://...; empty: SQLite in the data directory"`

	PaymentsDatabaseURL string `env:"CLAIMRAIL_PAYMENTS_DATABASE_URL" flag:"payments-database-url" arg:"URL" doc:"payments database, postgres://...; empty: SQLite in the data directory"`

	NATSURL string `env:"CLAIMRAIL_NATS_URL" flag:"nats-url" arg:"URL" doc:"NATS servers with JetStream, nats:// or tls://, separated by commas; empty: embedded, in the data directory"`

	NATSCredentials string `env:"CLAIMRAIL_NATS_CREDENTIALS" flag:"nats-credentials" role:"serve" arg:"FILE" doc:"credentials for the NATS servers; empty: none, or those in the URL"`

	NATSCA string `env:"CLAIMRAIL_NATS_CA" flag:"nats-ca" role:"serve" arg:"FILE" doc:"PEM file of authorities that certify the NATS servers; empty: those of the system"`

	NATSCert string `env:"CLAIMRAIL_NATS_CERT" flag:"nats-cert" role:"serve" arg:"FILE" doc:"PEM file of a certificate that the NATS servers ask for; needs nats-key"`

	NATSKey string `env:"CLAIMRAIL_NATS_KEY" flag:"nats-key" role:"serve" arg:"FILE" doc:"PEM file of the key of nats-cert"`

	Role role `env:"CLAIMRAIL_ROLE" envDefault:"all" flag:"role" role:"serve" arg:"ROLE" doc:"what serve does: all, claim-process or payments; apart, the two need an outside NATS"`

	TopProvidersPerMinute int `env:"CLAIMRAIL_TOP_PROVIDERS_PER_MINUTE" envDefault:"10" flag:"top-providers-per-minute" role:"serve" arg:"N" doc:"requests of /top-providers that a client has in any 60 seconds, 1 to 1000"`

	Rules claim.Rules `env:"CLAIMRAIL_RULES" flag:"rules" arg:"RULES" doc:"severities of rules, such as npi-check-digit=error,future-date=off; the others keep theirs"`

	AllowUnauthenticated bool `env:"CLAIMRAIL_ALLOW_UNAUTHENTICATED" envDefault:"false" flag:"allow-unauthenticated" role:"serve" doc:"let serve listen on more than loopback though nobody is asked who they are"`

	AllowHosts []string `env:"CLAIMRAIL_ALLOW_HOSTS" flag:"allow-hosts" role:"serve" arg:"NAMES" doc:"names that serve goes by, separated by commas, with a port or for any; empty: on loopback those of loopback alone, elsewhere all"`

	StopDelay time.Duration `env:"CLAIMRAIL_STOP_DELAY" envDefault:"250ms" flag:"stop-delay" role:"serve" arg:"TIME" doc:"how long serve still takes requests when it is to stop, not ready, so that load balancers learn of it; up to 5s"`

	Unsafe bool `env:"CLAIMRAIL_UNSAFE" envDefault:"false" flag:"unsafe" role:"serve" doc:"use a Postgres whose settings can lose committed rows; for trying things out"`

	LogLevel logLevel `env:"CLAIMRAIL_LOG_LEVEL" envDefault:"info" flag:"log-level" arg:"LEVEL" doc:"debug, info, warn or error"`
}

// logLevel is a slog.Level that has one of the four plain names.
type logLevel slog.Level

// Level makes it a slog.Leveler.
func (l logLevel) Level() slog.Level { return slog.Level(l) }

// role says which of the two services serve runs.
type role string

// Roles.
const (
	roleAll          role = "all"
	roleClaimProcess role = "claim-process"
	rolePayments     role = "payments"
)

func (r role) claims() bool   { return r != rolePayments }
func (r role) payments() bool { return r != roleClaimProcess }

// variablePrefix starts the names of all variables of ours.
const variablePrefix = "CLAIMRAIL_"

// dotenvPath is read from the working directory, where it exists.
const dotenvPath = ".env"

// Limits of CLAIMRAIL_TOP_PROVIDERS_PER_MINUTE.
const (
	minTopProvidersPerMinute = 1
	maxTopProvidersPerMinute = 1000
)

// maxStopDelay is the bound of CLAIMRAIL_STOP_DELAY. A stop as a whole is over after stopTimeout.
const maxStopDelay = 5 * time.Second

// setting is one field of config as it is set from outside: a pflag.Value that keeps the
// text until all settings are read together.
type setting struct {
	field    string // of config
	variable string
	fallback string // what an empty value stands for
	flag     string
	argument string // what the flag's value is called in help; "" for a switch
	doc      string
	serve    bool // a flag of serve alone

	text string
	set  bool // by its flag
}

// String implements pflag.Value.
func (s *setting) String() string {
	if s.set {
		return s.text
	}
	return s.fallback
}

// Set implements pflag.Value. What the text is worth is judged by load.
func (s *setting) Set(text string) error {
	s.text, s.set = text, true
	return nil
}

// Type implements pflag.Value.
func (s *setting) Type() string {
	if s.argument == "" {
		return "bool"
	}
	return s.argument
}

// newSettings reads the tags of config, in the order of its fields.
func newSettings() []*setting {
	var settings []*setting
	for field := range reflect.TypeFor[config]().Fields() {
		settings = append(settings, &setting{
			field:    field.Name,
			variable: field.Tag.Get("env"),
			fallback: field.Tag.Get("envDefault"),
			flag:     field.Tag.Get("flag"),
			argument: field.Tag.Get("arg"),
			doc:      field.Tag.Get("doc"),
			serve:    field.Tag.Get("role") == "serve",
		})
	}
	return settings
}

// bindShared makes the flags that all commands have.
func (p *program) bindShared(flags *pflag.FlagSet) {
	p.settings = make(map[string]*setting)
	for _, s := range newSettings() {
		p.settings[s.variable] = s
		if !s.serve {
			s.bind(flags)
		}
	}
}

// bindServe makes the flags that only serve has.
func (p *program) bindServe(flags *pflag.FlagSet) {
	for _, s := range p.settings {
		if s.serve {
			s.bind(flags)
		}
	}
}

func (s *setting) bind(flags *pflag.FlagSet) {
	flag := flags.VarPF(s, s.flag, "", fmt.Sprintf("%s (%s)", s.doc, s.variable))
	if s.argument == "" {
		flag.NoOptDefVal = "true"
	}
}

// loadConfig reads all settings and checks them. An error is a misuse, and names everything
// that is wrong at once.
func (p *program) loadConfig() (config, error) {
	found, problems := p.collect()
	c := config{Rules: claim.DefaultRules()}
	values := make(map[string]string, len(found))
	for name, value := range found {
		values[name] = value.text
	}
	problem := func(variable string, err error) {
		problems = append(problems, fmt.Errorf("%s: %w", describe(variable, found), err))
	}
	var several env.AggregateError
	if err := env.ParseWithOptions(&c, env.Options{Environment: values, FuncMap: parsers()}); errors.As(err, &several) {
		for _, err := range several.Errors {
			var wrong env.ParseError
			if !errors.As(err, &wrong) {
				problems = append(problems, err)
				continue
			}
			problem(p.variableOf(wrong.Name), wrong.Err)
		}
	} else if err != nil {
		problems = append(problems, err)
	}
	c.check(problem)
	if len(problems) == 0 {
		return c, nil
	}
	texts := make([]string, len(problems))
	for i, err := range problems {
		texts[i] = err.Error()
	}
	return config{}, misuse(fmt.Errorf("bad configuration: %s", strings.Join(texts, "\n  and ")),
		"'claimrail serve --help' explains every setting")
}

// check judges what no parser can. Where a value did not parse, its field is zero
// and says nothing here.
func (c *config) check(problem func(variable string, err error)) {
	if c.Listen != "" {
		if err := checkListen(c.Listen, c.AllowUnauthenticated); err != nil {
			problem("CLAIMRAIL_LISTEN", err)
		}
	}
	if err := checkDatabaseURL(c.DatabaseURL); err != nil {
		problem("CLAIMRAIL_DATABASE_URL", err)
	}
	if err := checkDatabaseURL(c.PaymentsDatabaseURL); err != nil {
		problem("CLAIMRAIL_PAYMENTS_DATABASE_URL", err)
	}
	if err := checkNATSURL(c.NATSURL); err != nil {
		problem("CLAIMRAIL_NATS_URL", err)
	}
}

// checkRole judges what only serve asks of the role.
func (c *config) checkRole() error {
	if c.NATSURL != "" || c.Role == roleAll {
		return nil
	}
	return misuse(fmt.Errorf("bad configuration: CLAIMRAIL_ROLE: %s alone needs CLAIMRAIL_NATS_URL: the embedded broker is in one process only", c.Role),
		"'claimrail serve --help' explains every setting")
}

// checkListen judges an address to listen on.
func checkListen(address string, allowed bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want HOST:PORT, such as 127.0.0.1:8000, got %q", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("want a port from 0 to 65535, got %q", port)
	}
	if allowed || api.IsLoopback(host) {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address, and nobody is asked who they are: use 127.0.0.1, or set CLAIMRAIL_ALLOW_UNAUTHENTICATED=true", address)
}

// listensOnLoopback tells whether only this machine can reach the address to listen on.
func (c *config) listensOnLoopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && api.IsLoopback(host)
}

// parseHosts reads names as they stand in a Host header, separated by commas.
func parseHosts(text string) ([]string, error) {
	hosts := strings.Split(text, ",")
	for i, host := range hosts {
		hosts[i] = strings.TrimSpace(host)
		if hosts[i] == "" || strings.ContainsAny(hosts[i], "/*@ ") {
			return nil, fmt.Errorf("want names such as claims.example.org,10.0.0.5:8000, got %q", text)
		}
	}
	return hosts, nil
}

// checkDatabaseURL judges the place of a database. A URL may hold a password: it is
// never shown.
func checkDatabaseURL(url string) error {
	if url == "" || strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return nil
	}
	return errors.New("want postgres://user:password@host/database, or nothing for SQLite in the data directory")
}

// checkNATSURL judges the place of the broker. A URL may hold a password: it is never
// shown. Package broker reads it more closely.
func checkNATSURL(url string) error {
	if url == "" || strings.HasPrefix(url, "nats://") || strings.HasPrefix(url, "tls://") {
		return nil
	}
	return errors.New("want nats://host:4222 or tls://host:4222, or nothing for the embedded broker")
}

// parsers gives what turns texts into the types of config. Their errors say what
// would be right.
func parsers() map[reflect.Type]env.ParserFunc {
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[int](): func(text string) (any, error) {
			number, err := strconv.Atoi(text)
			if err != nil || number < minTopProvidersPerMinute || number > maxTopProvidersPerMinute {
				return nil, fmt.Errorf("want a whole number from %d to %d, got %q",
					minTopProvidersPerMinute, maxTopProvidersPerMinute, text)
			}
			return number, nil
		},
		reflect.TypeFor[bool](): func(text string) (any, error) {
			allowed, err := strconv.ParseBool(text)
			if err != nil {
				return nil, fmt.Errorf("want true or false, got %q", text)
			}
			return allowed, nil
		},
		reflect.TypeFor[time.Duration](): func(text string) (any, error) {
			delay, err := time.ParseDuration(text)
			if err != nil || delay < 0 || delay > maxStopDelay {
				return nil, fmt.Errorf("want a time from 0s to %s, such as 250ms, got %q", maxStopDelay, text)
			}
			return delay, nil
		},
		reflect.TypeFor[[]string](): func(text string) (any, error) {
			return parseHosts(text)
		},
		reflect.TypeFor[claim.Rules](): func(text string) (any, error) {
			return claim.ParseRules(text)
		},
		reflect.TypeFor[role](): func(text string) (any, error) {
			switch r := role(text); r {
			case roleAll, roleClaimProcess, rolePayments:
				return r, nil
			default:
				return nil, fmt.Errorf("want all, claim-process or payments, got %q", text)
			}
		},
		reflect.TypeFor[logLevel](): func(text string) (any, error) {
			levels := map[string]slog.Level{
				"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
			}
			level, known := levels[text]
			if !known {
				return nil, fmt.Errorf("want debug, info, warn or error, got %q", text)
			}
			return logLevel(level), nil
		},
	}
}

// origin is a value, and where it came from.
type origin struct {
	text  string
	place string // "--listen", "CLAIMRAIL_LISTEN", "CLAIMRAIL_LISTEN in .env"
}

// describe names the place of a setting's value.
func describe(variable string, found map[string]origin) string {
	if value, ok := found[variable]; ok {
		return value.place
	}
	return variable
}

func (p *program) variableOf(field string) string {
	for variable, s := range p.settings {
		if s.field == field {
			return variable
		}
	}
	return field
}

// collect gathers the values by variable: those of flags over those of the environment
// over those of .env. Names that mean nothing are among the problems.
func (p *program) collect() (map[string]origin, []error) {
	found := make(map[string]origin)
	var problems []error
	take := func(variables map[string]string, where string) {
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			switch _, known := p.settings[name]; {
			case known:
				found[name] = origin{variables[name], name + where}
			case strings.HasPrefix(name, variablePrefix):
				problems = append(problems, p.unknownVariable(name, where))
			}
		}
	}
	file, err := readDotenv()
	if err != nil {
		problems = append(problems, err)
	}
	take(file, " in "+dotenvPath)
	take(withoutServiceLinks(p.environ), "")
	for name, s := range p.settings {
		if s.set {
			found[name] = origin{s.text, "--" + s.flag}
		}
	}
	return found, problems
}

func (p *program) unknownVariable(name, where string) error {
	if near, ok := nearest(name, slices.Collect(maps.Keys(p.settings))); ok {
		return fmt.Errorf("%s%s: there is no such setting, did you mean %s?", name, where, near)
	}
	return fmt.Errorf("%s%s: there is no such setting", name, where)
}

// readDotenv reads .env; a file that is not there has no variables. Its lines may hold
// passwords, so that errors of its syntax are not passed on.
func readDotenv() (map[string]string, error) {
	text, err := os.ReadFile(dotenvPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	variables, err := godotenv.UnmarshalBytes(text)
	if err != nil {
		return nil, fmt.Errorf("%s: write one NAME=value on a line, # before comments", dotenvPath)
	}
	return variables, nil
}

// withoutServiceLinks gives the environment as a map. In a Kubernetes namespace with a
// service named claimrail every container finds variables such as
// CLAIMRAIL_SERVICE_HOST and CLAIMRAIL_PORT_8000_TCP, which nobody set: they are left out.
func withoutServiceLinks(environ []string) map[string]string {
	variables := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	if _, inside := variables["KUBERNETES_SERVICE_HOST"]; !inside {
		return variables
	}
	maps.DeleteFunc(variables, func(name, value string) bool {
		return name == "CLAIMRAIL_SERVICE_HOST" || strings.HasPrefix(name, "CLAIMRAIL_SERVICE_PORT") ||
			strings.HasPrefix(name, "CLAIMRAIL_PORT_") || name == "CLAIMRAIL_PORT" && strings.Contains(value, "://")
	})
	return variables
}

// envExample gives the text of .env.example: every setting with its default.
func envExample() string {
	var text strings.Builder
	text.WriteString(`# Settings of claimrail, with their defaults. Copy this file to .env in the directory
# in which claimrail is started. The environment goes before this file, and flags go
# before the environment. A name that starts with CLAIMRAIL_ and is not among these
# stops the program.
`)
	for _, s := range newSettings() {
		fmt.Fprintf(&text, "\n# %s%s.\n%s=%s\n", strings.ToUpper(s.doc[:1]), s.doc[1:], s.variable, s.fallback)
	}
	return text.String()
}
