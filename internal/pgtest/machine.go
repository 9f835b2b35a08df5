package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// installTimeout bounds the installation of packages, the wait for another process that
// installs them included.
const installTimeout = 5 * time.Minute

// way is one of the ways to a server.
type way string

// The ways, in the order in which they are taken.
const (
	named     way = "named"     // Variable has its URL
	installed way = "installed" // its binaries are on this machine
	packaged  way = "packaged"  // apt-get can install them
	composed  way = "composed"  // docker compose can start it
)

// facts are what the ways depend on.
type facts struct {
	url      string // of Variable
	binaries string // the folder that has them
	apt      bool   // there is apt-get, and we may use it
	docker   bool   // there is docker, and a compose file
}

// ways gives the ways that can be tried, the best first. A server that somebody names is
// the one to be used: that it is away must not go unnoticed.
func (f *facts) ways() []way {
	switch {
	case f.url != "":
		return []way{named}
	case f.binaries != "":
		return []way{installed}
	}
	var found []way
	if f.apt {
		found = append(found, packaged)
	}
	if f.docker {
		found = append(found, composed)
	}
	return found
}

// machine is where a server is looked for.
type machine struct {
	url    string   // of Variable
	path   string   // the folders of programs, as PATH has them
	places []string // patterns of folders that binaries are installed to
	root   bool
	folder string // where the compose file is looked for, and above
}

// thisMachine is the machine as it is.
func thisMachine() *machine {
	folder, _ := os.Getwd() // without it there is no compose file
	return &machine{
		url: os.Getenv(Variable), path: os.Getenv("PATH"), root: os.Geteuid() == 0, folder: folder,
		places: []string{"/usr/lib/postgresql/*/bin", "/usr/local/bin", "/usr/local/pgsql/bin"},
	}
}

func (m *machine) facts() facts {
	return facts{
		url: m.url, binaries: m.binaries(), apt: m.root && m.program("apt-get") != "",
		docker: m.program("docker") != "" && m.composeFolder() != "",
	}
}

// server gives a server by the best way that works. The error says what was tried, and what
// to do.
func (m *machine) server(ctx context.Context) (*Server, error) {
	facts := m.facts()
	errs := []error{fmt.Errorf("no Postgres server for tests: set %s to the URL of one, or install Postgres 15 or newer "+
		"(apt-get install postgresql), or docker (docker compose up --build db-test)", Variable)}
	for _, way := range facts.ways() {
		server, err := m.serverBy(ctx, way, facts)
		if err == nil {
			return server, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", way, err))
	}
	return nil, errors.Join(errs...)
}

func (m *machine) serverBy(ctx context.Context, way way, facts facts) (*Server, error) {
	if way == packaged {
		if err := m.install(ctx); err != nil {
			return nil, err
		}
		facts.binaries = m.binaries()
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	switch way {
	case named:
		return &Server{url: facts.url}, nil
	case composed:
		return m.compose(ctx)
	default:
		return sharedServer(ctx, facts.binaries)
	}
}

// program gives the path of a program, or nothing.
func (m *machine) program(name string) string {
	for _, folder := range filepath.SplitList(m.path) {
		if path := filepath.Join(folder, name); isFile(path) {
			return path
		}
	}
	return ""
}

// binaries gives a folder with initdb and postgres, or nothing: that of PATH first, then the
// newest version.
func (m *machine) binaries() string {
	var folders []string
	if initdb := m.program("initdb"); initdb != "" {
		folders = append(folders, filepath.Dir(initdb))
	}
	for _, pattern := range m.places {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
		folders = append(folders, found...)
	}
	for _, folder := range folders {
		if isFile(filepath.Join(folder, "initdb")) && isFile(filepath.Join(folder, "postgres")) {
			return folder
		}
	}
	return ""
}

// version reads a folder such as /usr/lib/postgresql/15/bin; 0 where it has none.
func version(folder string) float64 {
	number, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(folder)), 64)
	return number
}

// install has apt-get install the binaries, unless another process, whose tests started
// with ours, has done so meanwhile. A machine that has no lists of packages gets them.
func (m *machine) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	unlock, err := lockFile(filepath.Join(os.TempDir(), "claimrail-apt-get.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if m.binaries() != "" {
		return nil
	}
	install := []string{"install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", "postgresql"}
	if m.run(ctx, "apt-get", install...) != nil {
		if err := m.run(ctx, "apt-get", "update"); err != nil {
			return err
		}
		if err := m.run(ctx, "apt-get", install...); err != nil {
			return err
		}
	}
	if m.binaries() == "" {
		return errors.New("apt-get install postgresql: it has brought no initdb and postgres")
	}
	return nil
}

// compose starts the server that the project's compose file has for tests.
func (m *machine) compose(ctx context.Context) (*Server, error) {
	if err := m.run(ctx, "docker", "compose", "up", "-d", "--wait", "db-test"); err != nil {
		return nil, err
	}
	command := m.command(ctx, "docker", "compose", "port", "db-test", "5432")
	address, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("docker compose port db-test: %w", err)
	}
	server := &Server{url: "postgres://postgres:postgres@" + strings.TrimSpace(string(address)) + "/postgres"}
	return server, waitFor(ctx, server.url)
}

// composeFolder gives the folder with the compose file, or nothing.
func (m *machine) composeFolder() string {
	for folder := m.folder; folder != ""; folder = filepath.Dir(folder) {
		if isFile(filepath.Join(folder, "docker-compose.yml")) {
			return folder
		}
		if folder == filepath.Dir(folder) {
			break
		}
	}
	return ""
}

func (m *machine) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, m.program(name), arguments...)
	command.Dir = m.composeFolder()
	command.Env = append(os.Environ(), "PATH="+m.path, "DEBIAN_FRONTEND=noninteractive")
	return command
}

func (m *machine) run(ctx context.Context, name string, arguments ...string) error {
	if output, err := m.command(ctx, name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, lastLine(output))
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
