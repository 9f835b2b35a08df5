package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docsWant is what a browser has to be told about every path of the page.
var docsWant = map[string]struct{ contentType, file string }{
	"/docs":                                  {"text/html; charset=utf-8", "docsui/index.html"},
	"/docs/docs.css":                         {"text/css; charset=utf-8", "docsui/docs.css"},
	"/docs/docs.js":                          {"text/javascript; charset=utf-8", "docsui/docs.js"},
	"/docs/icon.svg":                         {"image/svg+xml", "docsui/icon.svg"},
	"/docs/swagger-ui.css":                   {"text/css; charset=utf-8", "docsui/swagger-ui/swagger-ui.css.gz"},
	"/docs/swagger-ui-bundle.js":             {"text/javascript; charset=utf-8", "docsui/swagger-ui/swagger-ui-bundle.js.gz"},
	"/docs/swagger-ui-bundle.js.LICENSE.txt": {"text/plain; charset=utf-8", "docsui/swagger-ui/swagger-ui-bundle.js.LICENSE.txt"},
	"/docs/LICENSE.txt":                      {"text/plain; charset=utf-8", "docsui/swagger-ui/LICENSE.txt"},
	"/docs/NOTICE.txt":                       {"text/plain; charset=utf-8", "docsui/swagger-ui/NOTICE.txt"},
}

// askDocs sends one request to a page of its own. Pairs are header names and values.
func askDocs(method, path string, pairs ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(pairs); i += 2 {
		request.Header.Add(pairs[i], pairs[i+1])
	}
	recorder := httptest.NewRecorder()
	docsPage().ServeHTTP(recorder, request)
	return recorder
}

// readUnpacked reads a file of the package, decompressed where its name says .gz.
func readUnpacked(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		content = gunzip(t, content)
	}
	return content
}

func gunzip(t *testing.T, packed []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Every path gives its file byte for byte, with its type and the headers that keep
// the page to its own origin, whether or not the client reads gzip; and nothing is
// served that this test does not know.
func TestDocsServeEveryFile(t *testing.T) {
	t.Parallel()
	if got, want := len(docsPage().(docsHandler)), len(docsWant); got != want {
		t.Errorf("paths: got %d, want %d", got, want)
	}
	for path, want := range docsWant {
		for _, coding := range []string{"", "gzip, deflate, br"} {
			answer := askDocs(http.MethodGet, path, "Accept-Encoding", coding)
			if answer.Code != http.StatusOK {
				t.Errorf("%s: got status %d, want 200", path, answer.Code)
				continue
			}
			packed := coding != "" && strings.HasSuffix(want.file, ".gz")
			body := answer.Body.Bytes()
			if packed {
				body = gunzip(t, body)
			}
			if !bytes.Equal(body, readUnpacked(t, want.file)) {
				t.Errorf("%s for %q: got another body than %s, want the same", path, coding, want.file)
			}
			checkDocsHeaders(t, path, answer.Header(), want.contentType, packed)
		}
	}
}

func checkDocsHeaders(t *testing.T, path string, header http.Header, contentType string, packed bool) {
	t.Helper()
	want := map[string]string{
		"Content-Type": contentType,
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
			"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-cache",
		"Content-Encoding":       "",
	}
	if packed {
		want["Content-Encoding"] = "gzip"
		want["Vary"] = "Accept-Encoding"
	}
	got := make(map[string]string)
	for name := range want {
		got[name] = header.Get(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: headers (-want +got):\n%s", path, diff)
	}
}

// A client that has a file is told so instead of being sent it again, and is not told
// so about the other coding of it: those are different bytes.
func TestDocsTellWhatIsUnchanged(t *testing.T) {
	t.Parallel()
	for path, want := range docsWant {
		plain := askDocs(http.MethodGet, path).Header().Get("ETag")
		packed := askDocs(http.MethodGet, path, "Accept-Encoding", "gzip").Header().Get("ETag")
		if same := plain == packed; plain == "" || same == strings.HasSuffix(want.file, ".gz") {
			t.Errorf("%s: got ETag %s plain and %s with gzip, want them to differ only where the bytes do", path, plain, packed)
		}
		answer := askDocs(http.MethodGet, path, "If-None-Match", plain)
		if answer.Code != http.StatusNotModified || answer.Body.Len() > 0 {
			t.Errorf("%s again: got status %d with %d bytes, want 304 with none", path, answer.Code, answer.Body.Len())
		}
		if plain != packed {
			if got := askDocs(http.MethodGet, path, "If-None-Match", plain, "Accept-Encoding", "gzip").Code; got != http.StatusOK {
				t.Errorf("%s in the other coding: got status %d, want 200", path, got)
			}
		}
	}
}

// Only GET and HEAD are answered, and only on the paths of the page; every refusal is
// as closed as the page.
func TestDocsRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path string
		status       int
		name, value  string // a header of the answer
	}{
		{http.MethodHead, "/docs", http.StatusOK, "Content-Type", "text/html; charset=utf-8"},
		{http.MethodPost, "/docs", http.StatusMethodNotAllowed, "Allow", "GET, HEAD"},
		{http.MethodOptions, "/docs/docs.js", http.StatusMethodNotAllowed, "Allow", "GET, HEAD"},
		{http.MethodGet, "/docs/", http.StatusPermanentRedirect, "Location", "../docs"},
		{http.MethodGet, "/docs/index.html", http.StatusNotFound, "Cache-Control", ""},
		{http.MethodGet, "/docs/vendor.sh", http.StatusNotFound, "Cache-Control", ""},
		{http.MethodGet, "/docs/../docs.go", http.StatusNotFound, "Cache-Control", ""},
		{http.MethodGet, "/", http.StatusNotFound, "Cache-Control", ""},
	} {
		answer := askDocs(c.method, c.path)
		if answer.Code != c.status || answer.Header().Get(c.name) != c.value {
			t.Errorf("%s %s: got status %d, %s %q, want %d, %q", c.method, c.path, answer.Code, c.name, answer.Header().Get(c.name), c.status, c.value)
		}
		if got := answer.Header().Get("Content-Security-Policy"); got != docsPolicy {
			t.Errorf("%s %s: got policy %q, want that of the page", c.method, c.path, got)
		}
		if c.method == http.MethodHead && answer.Body.Len() > 0 {
			t.Errorf("%s %s: got %d bytes, want none", c.method, c.path, answer.Body.Len())
		}
	}
}

// gzip goes only to those who ask for it by name and give it weight.
func TestAcceptsGzip(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"gzip": true, "br, GZIP": true, "gzip;q=0.5": true, "gzip ; q=1": true, "deflate,gzip;q=0.001": true,
		"": false, "br": false, "x-gzip": false, "gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=": false, "gzip;x": false, "*": false,
	} {
		if got := acceptsGzip(header); got != want {
			t.Errorf("acceptsGzip(%q): got %t, want %t", header, got, want)
		}
	}
}

// The files of Swagger UI are those that were published, unpacked and to the byte, and
// none lies there that the list does not name.
func TestDocsVendoredFilesAreWhatTheyClaim(t *testing.T) {
	t.Parallel()
	const dir, list = "docsui/swagger-ui", "SHA256SUMS"
	want := make(map[string]string)
	for line := range strings.Lines(string(readUnpacked(t, filepath.Join(dir, list)))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = sum
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, entry := range entries {
		if entry.Name() != list {
			sum := sha256.Sum256(readUnpacked(t, filepath.Join(dir, entry.Name())))
			got[strings.TrimSuffix(entry.Name(), ".gz")] = hex.EncodeToString(sum[:])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s against its list (-want +got):\n%s", dir, diff)
	}
}

// How HTML and CSS make a browser load something, and the script and style in HTML
// that the page's policy would not run.
var (
	docsLoads  = regexp.MustCompile(`(?i)(?:(?:src|srcset|href|action|data|poster)\s*=\s*|url\(\s*|@import\s+)["']?([^"'\s>)]+)`)
	docsInline = regexp.MustCompile(`(?i)<style|<script(?:\s[^>]*)?>[^<]|\sstyle\s*=|\son[a-z]+\s*=|javascript:`)
	docsScheme = regexp.MustCompile(`(?i)^(?:[a-z][a-z0-9+.-]*:|//)`)
)

// foreignLoads gives what a text would make a browser load from another origin.
func foreignLoads(text string) []string {
	var foreign []string
	for _, match := range docsLoads.FindAllStringSubmatch(text, -1) {
		if address := match[1]; docsScheme.MatchString(address) && !strings.HasPrefix(address, "data:") {
			foreign = append(foreign, address)
		}
	}
	return foreign
}

// The page, its style and the style of Swagger UI load nothing from elsewhere, the
// page has no script or style of its own inside, and our script names no address.
func TestDocsNameNoOtherOrigin(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"docsui/index.html", "docsui/docs.css", "docsui/icon.svg", "docsui/swagger-ui/swagger-ui.css.gz"} {
		if got := foreignLoads(string(readUnpacked(t, file))); len(got) > 0 {
			t.Errorf("%s: got loads of %q, want none from elsewhere", file, got)
		}
	}
	if got := docsInline.FindString(string(readUnpacked(t, "docsui/index.html"))); got != "" {
		t.Errorf("index.html: got %q inside the page, want it in a file", got)
	}
	if script := string(readUnpacked(t, "docsui/docs.js")); strings.Contains(script, "://") || strings.Contains(script, `"//`) {
		t.Error("docs.js: got an address with a host, want relative ones only")
	}
}

// The scan of the test above finds what it is for.
func TestForeignLoadsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`<script src="https://cdn.example/a.js">`:                 "https://cdn.example/a.js",
		`<link rel=stylesheet href=//cdn.example/a.css>`:          "//cdn.example/a.css",
		`<IMG SRC = 'HTTP://cdn.example/a.png'>`:                  "HTTP://cdn.example/a.png",
		`@import "https://fonts.example/css";`:                    "https://fonts.example/css",
		`@font-face{src:url( https://fonts.example/a.woff2)}`:     "https://fonts.example/a.woff2",
		`<script src="docs/docs.js"></script><a href="x.json">`:   "",
		`a{background:url("data:image/svg+xml;charset=utf-8,x")}`: "",
	} {
		if got := strings.Join(foreignLoads(text), " "); got != want {
			t.Errorf("foreignLoads(%s): got %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"<style>a{}</style>", "<script>go()</script>", `<p style="x">`, `<body onload="x">`} {
		if !docsInline.MatchString(text) {
			t.Errorf("%s: got nothing, want it found", text)
		}
	}
}
