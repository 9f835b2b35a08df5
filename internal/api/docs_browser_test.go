package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// browseTimeout bounds one visit, from the start of the browser to its end: seconds on
// an idle machine, close to a minute where 15 processes want two cores.
const browseTimeout = 4 * time.Minute

// browsed is what a browser saw of the documentation page.
type browsed struct {
	Requests      []string // addresses, in order; not data:, which is no request
	Operations    []string // as shown, such as "GET /claims/{claim_id}", in order
	ConsoleErrors []string // logged, thrown, or raised by the page's policy
	PNG           []byte   // the whole page, at the end
}

// browse opens the documentation page of the server at baseURL in a Chromium of its
// own, waits until the operations are shown and the network is quiet, and does the
// steps. The test is skipped where there is no Chromium, but not in CI.
func browse(t *testing.T, baseURL string, steps ...chromedp.Action[chromedp.Void]) browsed {
	t.Helper()
	watch := &watcher{idle: make(chan struct{}, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), browseTimeout)
	defer cancel()
	ctx, stop := chromedp.NewExecAllocator(ctx, chromiumOptions(t)...)
	defer stop()
	ctx, leave := chromedp.NewContext(ctx, chromedp.WithListener(watch.see))
	defer leave()

	err := chromedp.Do(ctx,
		chromedp.EmulateViewport(1280, 900),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, page.SetLifecycleEventsEnabled, page.SetLifecycleEventsEnabledParams{Enabled: true})
			return err
		}),
		chromedp.Navigate(baseURL+"/docs"),
		chromedp.Func(watch.waitIdle),
		chromedp.WaitVisible(chromedp.CSS(".opblock")),
	)
	if err != nil {
		t.Fatalf("open %s/docs: %v; console: %q", baseURL, err, watch.seen().ConsoleErrors)
	}
	operations, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](shownOperations))
	if err != nil {
		t.Fatalf("read the operations of %s/docs: %v", baseURL, err)
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("use %s/docs: %v; console: %q", baseURL, err, watch.seen().ConsoleErrors)
	}
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("take a picture of %s/docs: %v", baseURL, err)
	}
	seen := watch.seen()
	seen.Operations, seen.PNG = operations, picture
	return seen
}

// shownOperations is the script that reads the operations off the page. Swagger UI
// puts invisible break opportunities into the path it shows, not into the attribute.
const shownOperations = `Array.from(document.querySelectorAll(".opblock"), block =>
	(block.querySelector(".opblock-summary-method")?.textContent ?? "") + " " +
	(block.querySelector(".opblock-summary-path, .opblock-summary-path__deprecated")?.dataset.path ?? ""))`

// chromiumOptions start a browser that asks for nothing of its own and reaches no
// other machine. Without the sandbox, since containers run tests as root.
func chromiumOptions(t *testing.T) []chromedp.ExecAllocatorOption {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("look for a browser: %v; CI has to install Debian's package chromium", err)
		}
		t.Skipf("look for a browser: %v; install Debian's package chromium to run this test", err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	}
	for _, flag := range []string{
		"headless", "hide-scrollbars", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run",
		"no-default-browser-check", "disable-background-networking", "disable-component-update", "disable-sync",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	return options
}

// watcher keeps what the browser tells of a page.
type watcher struct {
	mu      sync.Mutex
	browsed browsed
	loader  cdp.LoaderID  // of the first document: the page
	idle    chan struct{} // gets one when the page has had no request open for a while
}

// see takes one event. The browser waits for it.
func (w *watcher) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument && w.loader == "" {
			w.loader = e.LoaderID
		}
		if !strings.HasPrefix(e.Request.URL, "data:") {
			w.browsed.Requests = append(w.browsed.Requests, e.Request.URL)
		}
	case *page.EventLifecycleEvent:
		if e.Name == "networkIdle" && e.LoaderID == w.loader {
			select {
			case w.idle <- struct{}{}:
			default:
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			w.complain(e.Entry.Text + " " + e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		w.complain(exceptionText(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			words := make([]string, len(e.Args))
			for i, arg := range e.Args {
				words[i] = string(arg.Value) + arg.Description
			}
			w.complain(strings.Join(words, " "))
		}
	}
}

func (w *watcher) complain(text string) {
	w.browsed.ConsoleErrors = append(w.browsed.ConsoleErrors, text)
}

func exceptionText(details *runtime.ExceptionDetails) string {
	if details.Exception == nil {
		return details.Text
	}
	return details.Text + " " + details.Exception.Description
}

// waitIdle is a step.
func (w *watcher) waitIdle(ctx context.Context, _ *chromedp.Target) error {
	select {
	case <-w.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until the page has loaded: %w", ctx.Err())
	}
}

func (w *watcher) seen() browsed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.browsed
}

// tryOut opens an operation, executes it as it is filled in, and puts the status that
// the page shows into status.
func tryOut(tag, operationID string, status *string) chromedp.Action[chromedp.Void] {
	block := "#operations-" + tag + "-" + operationID
	return chromedp.Steps(
		chromedp.Click(chromedp.CSS(block+" .opblock-summary-control")),
		chromedp.Click(chromedp.CSS(block+" button.execute"), chromedp.NodeVisible),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			shown, err := chromedp.TextContent(chromedp.CSS(block+" .live-responses-table tbody .response-col_status"))(ctx, target)
			*status = strings.TrimSpace(shown)
			return err
		}),
	)
}

// foreignRequests gives those that are not to the server at baseURL.
func foreignRequests(requests []string, baseURL string) []string {
	var foreign []string
	for _, address := range requests {
		if !strings.HasPrefix(address, baseURL+"/") {
			foreign = append(foreign, address)
		}
	}
	return foreign
}

// serveFor serves a handler until the test ends.
func serveFor(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// specified gives the operations of the specification of an API, sorted.
func specified(t *testing.T, b *bench) []string {
	t.Helper()
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(b.send(http.MethodGet, "/openapi.json", "").body), &spec); err != nil {
		t.Fatal(err)
	}
	var operations []string
	for path, methods := range spec.Paths {
		for method := range methods {
			operations = append(operations, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(operations)
	return operations
}

// In a real browser, under its own policy, the page shows every operation of the API
// and sends a request of one; nothing it does is refused, and no request leaves its
// origin. The picture is kept by go test -artifacts.
func TestDocsInBrowser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	server := serveFor(t, b.api)
	var status string
	got := browse(t, server.URL, tryOut("brief", "top-providers", &status))

	if diff := cmp.Diff(specified(t, b), slices.Sorted(slices.Values(got.Operations))); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	if status != "200" {
		t.Errorf("status of the request tried out: got %q, want 200", status)
	}
	if foreign := foreignRequests(got.Requests, server.URL); len(foreign) > 0 {
		t.Errorf("requests to elsewhere: got %q, want none", foreign)
	}
	for _, path := range []string{"/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", "/top-providers"} {
		if !slices.ContainsFunc(got.Requests, func(address string) bool {
			address, _, _ = strings.Cut(address, "?")
			return address == server.URL+path
		}) {
			t.Errorf("requests: got %q, want one for %s", got.Requests, path)
		}
	}
	if len(got.ConsoleErrors) > 0 {
		t.Errorf("console: got errors %q, want none", got.ConsoleErrors)
	}
	if _, err := png.DecodeConfig(bytes.NewReader(got.PNG)); err != nil {
		t.Errorf("picture: got %v, want a PNG", err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "docs.png"), got.PNG, 0o600); err != nil {
		t.Error(err)
	}
}

// A specification that shows a picture from elsewhere does not make the browser fetch
// it: the page's policy refuses. Without the policy it is fetched, and browse tells.
func TestDocsPolicyKeepsRequestsAtHome(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int64
	elsewhere := serveFor(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	picture := elsewhere.URL + "/picture.png"
	b := setup(t)
	spec := fmt.Sprintf(`{"openapi":"3.1.0","info":{"title":"x","version":"1","description":"![x](%s)"},"paths":{"/x":{"get":{"responses":{}}}}}`, picture)
	mux := http.NewServeMux()
	mux.Handle("/docs", b.api)
	mux.Handle("/docs/", b.api)
	mux.HandleFunc("/openapi.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(spec)) })

	got := browse(t, serveFor(t, mux).URL)
	if n := fetched.Load(); n != 0 {
		t.Errorf("fetched from elsewhere: got %d, want 0", n)
	}
	if text := strings.Join(got.ConsoleErrors, "\n"); !strings.Contains(text, picture) || !strings.Contains(text, "img-src") {
		t.Errorf("console: got %q, want it to say that img-src refused %s", text, picture)
	}

	open := serveFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(&withoutPolicy{w}, r)
	}))
	got = browse(t, open.URL)
	if diff := cmp.Diff([]string{picture}, foreignRequests(got.Requests, open.URL)); diff != "" || fetched.Load() != 1 {
		t.Errorf("without the policy: fetched %d, requests to elsewhere (-want +got):\n%s", fetched.Load(), diff)
	}
}

// withoutPolicy sends an answer without its Content-Security-Policy.
type withoutPolicy struct{ http.ResponseWriter }

func (w *withoutPolicy) WriteHeader(status int) {
	w.Header().Del("Content-Security-Policy")
	w.ResponseWriter.WriteHeader(status)
}
