package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// docsFiles is Swagger UI, as docsui/vendor.sh brings it, and the page around it.
// The licences travel with the program as they travel with the code they are for.
//
//go:embed docsui/*.html docsui/*.css docsui/*.js docsui/*.svg docsui/swagger-ui/*.gz docsui/swagger-ui/*.txt
var docsFiles embed.FS

// docsPolicy lets the page load from its own origin and from nowhere else, and lets
// nobody frame it. Swagger UI needs no exception: it sets its styles from script,
// property by property, and carries its icons in data: addresses.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsPage serves the interactive documentation: the page at /docs, what it loads
// below /docs/. The page reads /openapi.json, which is not served here. It answers
// 404 to any other path, so it can be mounted on both.
func docsPage() http.Handler {
	const script, style, text = "text/javascript; charset=utf-8", "text/css; charset=utf-8", "text/plain; charset=utf-8"
	return docsHandler{
		"/docs":                                  readDocsAsset("index.html", "text/html; charset=utf-8"),
		"/docs/docs.css":                         readDocsAsset("docs.css", style),
		"/docs/docs.js":                          readDocsAsset("docs.js", script),
		"/docs/icon.svg":                         readDocsAsset("icon.svg", "image/svg+xml"),
		"/docs/swagger-ui.css":                   readDocsAsset("swagger-ui/swagger-ui.css.gz", style),
		"/docs/swagger-ui-bundle.js":             readDocsAsset("swagger-ui/swagger-ui-bundle.js.gz", script),
		"/docs/swagger-ui-bundle.js.LICENSE.txt": readDocsAsset("swagger-ui/swagger-ui-bundle.js.LICENSE.txt", text),
		"/docs/LICENSE.txt":                      readDocsAsset("swagger-ui/LICENSE.txt", text),
		"/docs/NOTICE.txt":                       readDocsAsset("swagger-ui/NOTICE.txt", text),
	}
}

// docsHandler is the page and its assets by their paths.
type docsHandler map[string]*docsAsset

// ServeHTTP implements http.Handler.
func (h docsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", docsPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	asset, found := h[r.URL.Path]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the documentation can only be read: use GET or HEAD", http.StatusMethodNotAllowed)
	case r.URL.Path == "/docs/":
		// Relative, so that it also holds below a prefix of a proxy, as the page does.
		header.Set("Location", "../docs")
		w.WriteHeader(http.StatusPermanentRedirect)
	case !found:
		http.Error(w, "not part of the documentation, which starts at /docs", http.StatusNotFound)
	default:
		asset.serve(w, r)
	}
}

// docsAsset is a file of the page.
type docsAsset struct {
	contentType string
	etag        string // of the stored bytes, without quotes
	stored      []byte
	gzipped     bool                   // stored compressed
	plain       func() ([]byte, error) // stored, unpacked; the work of the first caller is kept
}

// readDocsAsset panics where the file is missing: then the program was built wrong.
func readDocsAsset(name, contentType string) *docsAsset {
	stored, err := docsFiles.ReadFile("docsui/" + name)
	if err != nil {
		panic(fmt.Sprintf("read embedded documentation: %v", err))
	}
	sum := sha256.Sum256(stored)
	return &docsAsset{
		contentType: contentType,
		etag:        hex.EncodeToString(sum[:16]),
		stored:      stored,
		gzipped:     strings.HasSuffix(name, ".gz"),
		plain:       sync.OnceValues(func() ([]byte, error) { return unpackDocs(stored) }),
	}
}

// serve sends the file as it is stored where the client can read that.
func (a *docsAsset) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	body, etag := a.stored, a.etag
	if a.gzipped {
		header.Set("Vary", "Accept-Encoding")
		if acceptsGzip(strings.Join(r.Header.Values("Accept-Encoding"), ",")) {
			header.Set("Content-Encoding", "gzip")
			etag += "-gzip"
		} else {
			var err error
			if body, err = a.plain(); err != nil {
				http.Error(w, "the file cannot be unpacked", http.StatusInternalServerError)
				return
			}
		}
	}
	header.Set("Content-Type", a.contentType)
	// The paths carry no version: a browser asks each time, and gets 304 until the
	// program is replaced.
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", strconv.Quote(etag))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func unpackDocs(stored []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// acceptsGzip reads an Accept-Encoding header. A client that does not name gzip, or
// gives it no weight, is taken not to read it.
func acceptsGzip(header string) bool {
	for offer := range strings.SplitSeq(header, ",") {
		coding, weight, weighted := strings.Cut(offer, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return !weighted || err == nil && q > 0
	}
	return false
}
