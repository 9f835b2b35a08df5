package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// root is the project's folder, as seen from here.
const root = "../.."

// readRoot reads a file of the project.
func readRoot(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// composeFile is what is looked at of docker-compose.yml.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image       string                       `yaml:"image"`
	Build       any                          `yaml:"build"`
	Command     []string                     `yaml:"command"`
	Environment map[string]string            `yaml:"environment"`
	Ports       []string                     `yaml:"ports"`
	Volumes     []string                     `yaml:"volumes"`
	Tmpfs       []string                     `yaml:"tmpfs"`
	ReadOnly    bool                         `yaml:"read_only"`
	Healthcheck map[string]any               `yaml:"healthcheck"`
	DependsOn   map[string]map[string]string `yaml:"depends_on"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var file composeFile
	if err := yaml.Unmarshal([]byte(readRoot(t, "docker-compose.yml")), &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// pinned is an image with a version of at least two numbers.
var pinned = regexp.MustCompile(`^[a-z][a-z0-9/-]*:v?\d+\.\d+(\.\d+)?(-[a-z0-9]+)?$`)

// The compose file stands on itself: what depends on what is there, is healthy in a way
// that somebody checks, has a version, and opens ports on loopback only.
func TestComposeFileIsWhole(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	want := []string{"app", "db-test", "migrate", "nats", "payments", "postgres"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(file.Services))); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	for name, s := range file.Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
		if s.Build != nil && !s.ReadOnly {
			t.Errorf("%s: its root can be written", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to more than loopback", name, port)
			}
		}
		for on, how := range s.DependsOn {
			needed, ok := file.Services[on]
			if !ok {
				t.Errorf("%s depends on %s, which is not there", name, on)
			}
			if how["condition"] == "service_healthy" && needed.Healthcheck["test"] == nil && needed.Build == nil {
				t.Errorf("%s waits until %s is healthy, which nobody checks", name, on)
			}
		}
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			_, named := file.Volumes[source]
			if _, err := os.Stat(filepath.Join(root, source)); err != nil && !named {
				t.Errorf("%s: volume %s comes from nowhere", name, volume)
			}
		}
	}
}

// The test database is what package pgtest asks for: it is gone with its container, and
// somebody says when it takes connections.
func TestComposeTestDatabase(t *testing.T) {
	t.Parallel()
	s := readCompose(t).Services["db-test"]
	if diff := cmp.Diff([]string{"127.0.0.1:5433:5432"}, s.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": "postgres"}, s.Environment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if len(s.Volumes) > 0 || len(s.Tmpfs) != 1 || s.Healthcheck["test"] == nil {
		t.Errorf("got volumes %v, tmpfs %v, health check %v; want none, one, one", s.Volumes, s.Tmpfs, s.Healthcheck["test"])
	}
	if text := strings.Join(s.Command, " "); strings.Contains(text, "fsync") || strings.Contains(text, "synchronous_commit") {
		t.Errorf("command %q: the program refuses settings that lose rows", text)
	}
}

// Every setting that compose and the manifests make is one that the program knows and
// takes: a name that it does not know would stop it.
func TestDeployedSettingsAreKnown(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t).Services {
		if s.Build != nil {
			checkSettings(t, "docker-compose.yml: "+name, s.Environment)
		}
	}
	config, secret := manifests(t)["ConfigMap claimrail"].Data, manifests(t)["Secret claimrail"].StringData
	for name, m := range manifests(t) {
		if pod := m.Spec.Template.Spec; len(pod.Containers) > 0 {
			checkSettings(t, name, pod.Containers[0].environment(t, config, secret))
		}
	}
}

// interpolated is a variable of compose with its default.
var interpolated = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

// checkSettings has the program read settings.
func checkSettings(t *testing.T, where string, settings map[string]string) {
	t.Helper()
	p := &program{stdout: io.Discard, stderr: io.Discard}
	for name, value := range settings {
		p.environ = append(p.environ, name+"="+interpolated.ReplaceAllString(value, "$1"))
	}
	p.newRootCommand()
	c, err := p.loadConfig()
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	// The databases of the two services are apart, but for the migration.
	if c.Role == roleClaimProcess && (c.DatabaseURL == "" || c.PaymentsDatabaseURL != "") ||
		c.Role == rolePayments && (c.DatabaseURL != "" || c.PaymentsDatabaseURL == "") ||
		c.Role == roleAll && (c.DatabaseURL == "" || c.PaymentsDatabaseURL == "") {
		t.Errorf("%s: role %s has the wrong databases", where, c.Role)
	}
	if c.Role != roleAll && c.usesDataDir() {
		t.Errorf("%s: role %s keeps something in the data directory", where, c.Role)
	}
}

// manifest is what is looked at of an object of Kubernetes.
type manifest struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Selector any              `yaml:"selector"`
		Ports    []map[string]any `yaml:"ports"`
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec struct {
				Grace           int            `yaml:"terminationGracePeriodSeconds"`
				SecurityContext map[string]any `yaml:"securityContext"`
				Containers      []container    `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type container struct {
	Image   string   `yaml:"image"`
	Args    []string `yaml:"args"`
	EnvFrom []struct {
		ConfigMapRef map[string]string `yaml:"configMapRef"`
		SecretRef    map[string]string `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name      string `yaml:"name"`
		Value     string `yaml:"value"`
		ValueFrom struct {
			SecretKeyRef map[string]string `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	} `yaml:"env"`
	LivenessProbe   probe          `yaml:"livenessProbe"`
	ReadinessProbe  probe          `yaml:"readinessProbe"`
	SecurityContext map[string]any `yaml:"securityContext"`
}

type probe struct {
	HTTPGet map[string]string `yaml:"httpGet"`
}

// environment gives what a container finds in its environment.
func (c *container) environment(t *testing.T, config, secret map[string]string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef["name"] == "claimrail":
			maps.Copy(found, config)
		case from.SecretRef["name"] == "claimrail":
			maps.Copy(found, secret)
		default:
			t.Errorf("settings come from %v, which is not there", from)
		}
	}
	for _, one := range c.Env {
		found[one.Name] = one.Value
		if key := one.ValueFrom.SecretKeyRef["key"]; key != "" {
			value, ok := secret[key]
			if !ok {
				t.Errorf("%s comes from %s, which is not in the secret", one.Name, key)
			}
			found[one.Name] = value
		}
	}
	return found
}

// manifests reads the files in deploy, by kind and name.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	found := make(map[string]manifest)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m manifest
		if err := yaml.Unmarshal(text, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found[m.Kind+" "+m.Metadata.Name] = m
	}
	return found
}

// The manifests are those of a migration, two roles and a service; all run with nothing
// to write, as nobody, and are asked how they are where the API answers.
func TestManifests(t *testing.T) {
	t.Parallel()
	found := manifests(t)
	want := []string{
		"ConfigMap claimrail", "Deployment claim-process", "Deployment payments", "Job claimrail-migrate",
		"Secret claimrail", "Service claimrail",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Fatalf("manifests (-want +got):\n%s", diff)
	}
	for name, m := range found {
		pod := m.Spec.Template.Spec
		if len(pod.Containers) == 0 {
			continue
		}
		c := pod.Containers[0]
		if !pinned.MatchString(c.Image) {
			t.Errorf("%s: image %q has no version", name, c.Image)
		}
		if pod.SecurityContext["runAsNonRoot"] != true || c.SecurityContext["readOnlyRootFilesystem"] != true {
			t.Errorf("%s: runs as root, or may write", name)
		}
		if m.Kind != "Deployment" {
			continue
		}
		if pod.Grace <= 20 {
			t.Errorf("%s: has %d s to end, serve takes up to 20", name, pod.Grace)
		}
		if got := [2]string{c.LivenessProbe.HTTPGet["path"], c.ReadinessProbe.HTTPGet["path"]}; got != [2]string{"/healthz", "/readyz"} {
			t.Errorf("%s: got probes %v, want /healthz and /readyz", name, got)
		}
	}
	selected, _ := found["Service claimrail"].Spec.Selector.(map[string]any)
	labels := found["Deployment claim-process"].Spec.Template.Metadata.Labels
	for label, value := range selected {
		if labels[label] != value {
			t.Errorf("the service selects %s=%v, claim-process has %q", label, value, labels[label])
		}
	}
	if len(selected) < 2 {
		t.Errorf("the service selects by %v, which is more than claim-process", selected)
	}
}

// Versions that are written in two places are the same: those of Go and of NATS.
func TestDeployedVersions(t *testing.T) {
	t.Parallel()
	modules := readRoot(t, "go.mod")
	builtIn := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindStringSubmatch(modules)
	if builtIn == nil || readCompose(t).Services["nats"].Image != "nats:"+builtIn[1]+"-alpine" {
		t.Errorf("got NATS %s in docker-compose.yml, want the version in go.mod, %v", readCompose(t).Services["nats"].Image, builtIn)
	}
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(modules)
	base := readImage(t).from["build"]
	if language == nil || !strings.HasPrefix(base, "golang:"+language[1]+"-") || !pinned.MatchString(base) {
		t.Errorf("got %s in the Dockerfile, want the version in go.mod, %v", base, language)
	}
}

// image is what is looked at of the Dockerfile.
type image struct {
	from  map[string]string // base of each stage; that of the last is ""
	runs  []string          // of the build
	copy  [][2]string       // from the build, into the image
	owner map[string]string // of what is copied, where it is not root
	env   map[string]string
	last  map[string]string // other instructions of the last stage
}

// readImage reads the Dockerfile, of which each instruction is one line.
func readImage(t *testing.T) image {
	t.Helper()
	i := image{from: map[string]string{}, owner: map[string]string{}, env: map[string]string{}, last: map[string]string{}}
	stage := ""
	for line := range strings.Lines(readRoot(t, "Dockerfile")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := strings.Fields(rest)
		switch {
		case word == "" || word == "#":
		case word == "FROM":
			_, stage, _ = strings.Cut(rest, " AS ")
			i.from[stage] = fields[0]
		case word == "RUN" && stage == "build":
			i.runs = append(i.runs, rest)
		case stage == "build":
		case word == "COPY":
			to := fields[len(fields)-1]
			for _, option := range fields[:len(fields)-2] {
				if owner, ok := strings.CutPrefix(option, "--chown="); ok {
					i.owner[to] = owner
				} else if option != "--from=build" {
					t.Errorf("Dockerfile: the test does not know %s", option)
				}
			}
			i.copy = append(i.copy, [2]string{fields[len(fields)-2], to})
		case word == "ENV":
			name, value, _ := strings.Cut(rest, "=")
			i.env[name] = value
		default:
			i.last[word] = rest
		}
	}
	return i
}

// ignored tells what .dockerignore keeps out of the build: a later pattern goes before an
// earlier one, and what covers a folder covers what is in it.
func ignored(patterns []string, name string) bool {
	out := false
	for _, pattern := range patterns {
		pattern, again := strings.CutPrefix(pattern, "!")
		for part := name; part != "."; part = path.Dir(part) {
			subject := part
			glob, anywhere := strings.CutPrefix(pattern, "**/")
			if anywhere {
				subject = path.Base(part)
			}
			if matched, err := path.Match(glob, subject); err == nil && matched {
				out = !again
			}
		}
	}
	return out
}

// copyContext copies what a build is given.
func copyContext(t *testing.T, to string) {
	t.Helper()
	var patterns []string
	for line := range strings.Lines(readRoot(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	tree := os.DirFS(root)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case ignored(patterns, name) && entry.IsDir():
			return fs.SkipDir
		case ignored(patterns, name):
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{".env", ".git", "data"} {
		if !ignored(patterns, secret) {
			t.Errorf(".dockerignore lets %s into the build", secret)
		}
	}
}

// makeImage does what the Dockerfile says, without an engine, and gives the image's root.
func makeImage(t *testing.T, i image) string {
	t.Helper()
	source, tree := t.TempDir(), filepath.Join(t.TempDir(), "root")
	copyContext(t, source)
	for _, run := range i.runs {
		if !strings.HasPrefix(run, "make build") {
			continue // fetches modules, which are here, or makes a folder, as below
		}
		command := exec.CommandContext(t.Context(), "sh", "-c", run)
		command.Dir = source
		command.Env = append(os.Environ(), "VERSION=1.2.3", "GOFLAGS=-mod=readonly")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", run, err, output)
		}
	}
	for _, pair := range i.copy {
		to := filepath.Join(tree, pair[1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch from := pair[0]; {
		case strings.HasPrefix(from, "/src/"):
			err = os.Rename(filepath.Join(source, strings.TrimPrefix(from, "/src/")), to)
		case slices.Contains(i.runs, "mkdir -p "+from):
			err = os.Mkdir(to, 0o755)
		default: // of the build's base; what it has here is the same, or is not needed
			text, readErr := os.ReadFile(from)
			if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
				t.Fatal(readErr)
			}
			err = os.WriteFile(to, text, 0o644)
		}
		if err != nil {
			t.Fatalf("COPY %s %s: %v", pair[0], pair[1], err)
		}
	}
	return tree
}

// inImage runs a command in the image: in a mount namespace of its own, in which all but
// /data is read-only, with the image as its root and the image's user.
const inImage = `
set -e
mount --bind "$1" "$1"
mount --bind "$1/data" "$1/data"
mount -o remount,bind,ro "$1"
tree=$1 user=$2
shift 2
exec chroot --userspec="$user" "$tree" "$@"
`

// The image, made as the Dockerfile says, serves as its user with nothing to write but
// /data, finds itself healthy by its own health check, and ends well on SIGTERM.
func TestImageServes(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI runs as root: only root can change the root of a process")
		}
		t.Skip("only root can change the root of a process")
	}
	if output, err := exec.CommandContext(t.Context(), "unshare", "--mount", "true").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no mount namespaces here: %v: %s", err, output)
		}
		t.Skipf("no mount namespaces here: %v: %s", err, output)
	}
	i := readImage(t)
	tree := makeImage(t, i)
	user, listen := i.last["USER"], freeAddress(t)
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) || i.owner["/data"] != user {
		t.Fatalf("got user %q, /data of %q; want the same two numbers, not 0", user, i.owner["/data"])
	}
	if output, err := exec.CommandContext(t.Context(), "chown", user, filepath.Join(tree, "data")).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, output)
	}
	start := func(arguments ...string) (*exec.Cmd, *bytes.Buffer) {
		var output bytes.Buffer
		command := exec.CommandContext(t.Context(), "unshare",
			append([]string{"--mount", "sh", "-c", inImage, "sh", tree, user}, arguments...)...)
		command.Stdout, command.Stderr = &output, &output
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "CLAIMRAIL_LISTEN=" + listen}
		for name, value := range i.env {
			command.Env = append(command.Env, name+"="+value)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		return command, &output
	}
	version, said := start("/claimrail", "version")
	if err := version.Wait(); err != nil || !strings.Contains(said.String(), "1.2.3") {
		t.Fatalf("version: got %v, %q, want the version that the build was given", err, said)
	}
	serve, log := start(append(words(i.last["ENTRYPOINT"]), words(i.last["CMD"])...)...)
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	_, health, _ := strings.Cut(i.last["HEALTHCHECK"], " CMD ")
	check := words(health)
	waitHealthy(t, func() error {
		select {
		case err := <-ended:
			t.Fatalf("serve ended: %v\n%s", err, log)
		default:
		}
		command, _ := start(check...)
		return command.Wait()
	})
	if _, err := os.Stat(filepath.Join(tree, "data", claimsFile)); err != nil {
		t.Errorf("the claims are not in /data: %v", err)
	}
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM serve ended with %v\n%s", err, log)
	}
	if command, _ := start(check...); command.Wait() == nil {
		t.Error("the health check finds a server that has ended")
	}
}

// words reads an instruction's list, which is JSON and so YAML.
func words(text string) (list []string) {
	if err := yaml.Unmarshal([]byte(text), &list); err != nil {
		return nil
	}
	return list
}

// freeAddress gives an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// waitHealthy asks until the answer is good.
func waitHealthy(t *testing.T, ask func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(readyTimeout)
	defer late.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not healthy after %v: %v", readyTimeout, err)
		}
	}
}
