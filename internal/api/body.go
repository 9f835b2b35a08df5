package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// A body must come in at minBodyRate on average, after bodyGrace; else the request is
// given up, so that slow senders can not hold all places.
const (
	bodyGrace   = 5 * time.Second
	minBodyRate = 16 << 10 // bytes per second
)

// usualBody is how much room there is before a body comes in, in bytes, if its sender says
// that it is so long: that of some 50 lines. More is made as it comes.
const usualBody = 16 << 10

// boundBody gives a body that nobody reads, or not to its end, bodyGrace to come in:
// the server reads what is left of it after the answer. readBody gives more to a sender
// that keeps up.
func boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyGrace))
	}
}

// readBody reads a JSON body, at most MaxBodyBytes of it, into the room of a body that is
// needed no more, or of nil.
func readBody(w http.ResponseWriter, r *http.Request, room []byte) ([]byte, error) {
	if err := checkContent(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > MaxBodyBytes {
		return nil, errTooLarge()
	}
	control := http.NewResponseController(w)
	paced := &pacedReader{from: http.MaxBytesReader(w, r.Body, MaxBodyBytes), start: time.Now(), deadline: control.SetReadDeadline}
	body, err := readAll(paced, slices.Grow(room[:0], int(min(max(r.ContentLength, 0), usualBody))+bytes.MinRead))
	switch tooLarge := (*http.MaxBytesError)(nil); {
	case err == nil:
		// Left standing, the deadline would end the wait for the client's next request,
		// and the handler's context with it.
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, errTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newFault(http.StatusRequestTimeout, "slow-body", "the body came too slowly; send it again")
	default:
		return nil, newFault(http.StatusBadRequest, "broken-body", "the body could not be read to its end; send it again")
	}
}

// readAll reads to the end, behind what is in dst already.
func readAll(from io.Reader, dst []byte) ([]byte, error) {
	for {
		n, err := from.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, len(dst))
		}
	}
}

func errTooLarge() *fault {
	return newFault(http.StatusRequestEntityTooLarge, "too-large",
		"the body is larger than 1 MiB; a claim of 999 lines is smaller than that")
}

// pacedReader gives each read as long as a sender of minBodyRate would need.
type pacedReader struct {
	from     io.Reader
	start    time.Time
	read     int64
	deadline func(time.Time) error // may be unsupported; then there is no pace
}

func (p *pacedReader) Read(into []byte) (int, error) {
	allowance := bodyGrace + time.Duration(p.read)*time.Second/minBodyRate
	_ = p.deadline(p.start.Add(allowance))
	n, err := p.from.Read(into)
	p.read += int64(n)
	return n, err
}

// checkContent refuses what is not said to be JSON. Without a content type JSON is assumed;
// a page of another origin can send that, and is refused before.
func checkContent(header http.Header) error {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return newFault(http.StatusUnsupportedMediaType, "content-encoding", "send the body as it is, without Content-Encoding")
	}
	contentType := header.Get("Content-Type")
	if contentType == "" {
		return nil
	}
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return newFault(http.StatusUnsupportedMediaType, "content-type", "send Content-Type: application/json")
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return newFault(http.StatusUnsupportedMediaType, "content-type", "send JSON in UTF-8")
	}
	return nil
}
