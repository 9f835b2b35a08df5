package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
)

// uploadIdle is how long the next bytes of a file that comes in may take: it may take any time,
// as long as it moves.
const uploadIdle = 30 * time.Second

// formType is the content type of a form.
const formType = "multipart/form-data"

// errStopping ends an upload when the server is to stop.
var errStopping = errors.New("the server stops")

// upload is a file that comes in as a request's body.
type upload struct {
	name    string // of a form's file; else empty
	file    io.Reader
	form    *multipart.Reader // nil where the body is the file
	control *http.ResponseController
	stopped <-chan struct{}
	release func() bool
	over    bool  // the form's file was read to its end
	err     error // of Read, but for io.EOF
}

// openUpload begins to read a file. Its deadlines are from now on those of something that moves.
// What it gives has to be ended, by done or refuse; it ends by itself what it refuses.
func openUpload(w http.ResponseWriter, r *http.Request) (*upload, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, newFault(http.StatusUnsupportedMediaType, "content-encoding", "send the file as it is, packed or not, without Content-Encoding")
	}
	if r.ContentLength > MaxImportBytes {
		return nil, errImportTooLarge()
	}
	u := &upload{control: http.NewResponseController(w), stopped: stopping(r.Context()).Done()}
	u.release = context.AfterFunc(stopping(r.Context()), func() { _ = u.control.SetReadDeadline(time.Unix(1, 0)) })
	_ = u.control.SetWriteDeadline(time.Time{})
	u.file = http.MaxBytesReader(w, r.Body, MaxImportBytes)
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formType {
		return u, nil // its content tells what it is
	}
	u.form = multipart.NewReader(raw{u, u.file}, parameters["boundary"])
	part, err := u.form.NextPart()
	if err != nil || part.FileName() == "" {
		return nil, u.refuse(errForm())
	}
	u.name, u.file = part.FileName(), part
	return u, nil
}

func errImportTooLarge() *fault {
	return newFault(http.StatusRequestEntityTooLarge, "too-large", "the file is larger than 4 GiB; pack it by gzip, or split it")
}

func errForm() *fault {
	return newFault(http.StatusBadRequest, "form", "a form has one file and nothing else; say what is to be done with it in the query")
}

// raw reads the body of a form, with the deadlines of the upload.
type raw struct {
	*upload
	body io.Reader
}

// Read implements io.Reader.
func (b raw) Read(into []byte) (int, error) { return b.read(b.body, into) }

// Read reads the file. Behind the file of a form nothing may come.
func (u *upload) Read(into []byte) (int, error) {
	if u.form == nil {
		return u.read(u.file, into)
	}
	if u.over {
		return 0, io.EOF
	}
	n, err := u.file.Read(into)
	if err == io.EOF {
		u.over = true
		if _, next := u.form.NextPart(); next == nil {
			err = errForm()
		} else if next != io.EOF {
			err = next
		}
	}
	return n, u.note(err)
}

func (u *upload) read(from io.Reader, into []byte) (int, error) {
	select {
	case <-u.stopped:
		return 0, u.note(errStopping)
	default:
	}
	_ = u.control.SetReadDeadline(time.Now().Add(uploadIdle))
	n, err := from.Read(into)
	return n, u.note(err)
}

// note keeps the first error.
func (u *upload) note(err error) error {
	if err != nil && err != io.EOF && u.err == nil {
		u.err = err
	}
	return err
}

// done ends an upload that was taken.
func (u *upload) done() { u.end(time.Time{}, writeTimeout) }

// refuse ends an upload that is not taken, and says why: err, or what became of its bytes.
func (u *upload) refuse(err error) error {
	stops, rest := false, time.Now().Add(bodyGrace)
	select {
	case <-u.stopped:
		stops, rest = true, time.Unix(1, 0) // nothing more is read
	default:
	}
	u.end(rest, pieceTimeout)
	switch {
	case u.err == nil:
		return err
	case stops:
		return &fault{
			status: http.StatusServiceUnavailable, code: "stopping", detail: "the server stops; send the file again a little later", retryAfter: retry,
		}
	default:
		return u.fault()
	}
}

// end gives the connection back the deadlines of an answer. Without it, whoever does not take
// the answer would keep the connection, and the server the request until it stops.
func (u *upload) end(read time.Time, write time.Duration) {
	u.release()
	_ = u.control.SetReadDeadline(read)
	_ = u.control.SetWriteDeadline(time.Now().Add(write))
}

// fault says why the bytes of an upload did not come in.
func (u *upload) fault() error {
	_, tooLarge := errors.AsType[*http.MaxBytesError](u.err)
	form, ofForm := errors.AsType[*fault](u.err)
	switch {
	case tooLarge:
		return errImportTooLarge()
	case ofForm:
		return form
	case errors.Is(u.err, os.ErrDeadlineExceeded):
		return newFault(http.StatusRequestTimeout, "slow-body", "nothing of the file came for 30 seconds; send it again")
	default:
		return newFault(http.StatusBadRequest, "broken-body", "the file could not be read to its end; send it again")
	}
}

// stoppingKey is the key under which requests find the context that ends when the server is to
// stop.
type stoppingKey struct{}

// stopping gives a context that ends when the server is to stop: for requests that may last.
func stopping(ctx context.Context) context.Context {
	if until, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		return until
	}
	return context.Background()
}
