package bulk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// ErrBusy: as many files as may come in, or wait, at once do so already.
var ErrBusy = errors.New("too many imports are under way")

// Limits of what is received.
const (
	maxReceiving = 8  // files that come in at once, of one instance
	maxWaiting   = 64 // imports that are not ended, among the newest store.MaxImportPage
	headBytes    = 4 << 10
	giveUpFor    = 10 * time.Second // bounds the end of an upload that was lost
)

// Wanted says what is to be done with a file.
type Wanted struct {
	Name        string // the sender's name of it; a path is left out
	Format      intake.Format
	DryRun      bool
	StopOnError bool
}

// Receive keeps a file, and has it passed. What can be told by its first bytes, such as that it
// is an archive, is told at once: *intake.FormatError. The same bytes while an import of them waits
// or runs, wanted in the same way, are that import, and nothing is added. Where the file does not
// come in to its end, nothing is left of it but an import that is cancelled. Errors: those of body
// as they are, ErrBusy, and those of the claims database.
func (d *Desk) Receive(ctx context.Context, body io.Reader, wanted Wanted) (store.Import, error) {
	select {
	case d.receiving <- struct{}{}:
		defer func() { <-d.receiving }()
	default:
		return store.Import{}, ErrBusy
	}
	head, err := readHead(body, wanted.Format)
	if err != nil {
		return store.Import{}, err
	}
	if _, err := d.twin(ctx, nil); err != nil {
		return store.Import{}, err
	}
	now := d.Now()
	i := store.Import{
		ID: uuid.Must(uuid.NewV7()), Name: CleanName(wanted.Name), DryRun: wanted.DryRun, StopOnError: wanted.StopOnError,
		Kept: true, State: store.ImportReceiving, CreatedAt: now, LeasedUntil: now.Add(receiveLease),
	}
	if wanted.Format != intake.UnknownFormat {
		i.Format = FormatName(wanted.Format)
	}
	if err := insist(ctx, func() error { return d.Imports.CreateImport(ctx, i) }); err != nil {
		return store.Import{}, err
	}
	kept, err := d.keep(ctx, &i, io.MultiReader(bytes.NewReader(head), body))
	if err != nil || kept.ID != i.ID {
		d.giveUp(ctx, i.ID)
		return kept, err
	}
	d.Stats.Received.Add(1)
	d.wakeUp()
	return kept, nil
}

// readHead reads the first bytes, and refuses what they show to be no file of claims. What they
// show of a file that is packed, or cut off within its first claim, means nothing yet.
func readHead(body io.Reader, format intake.Format) ([]byte, error) {
	head := make([]byte, headBytes)
	n, err := io.ReadFull(body, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	head = head[:n]
	_, err = intake.Open(bytes.NewReader(head), intake.Options{Format: format})
	if refused, ok := errors.AsType[*intake.FormatError](err); ok && refused.Found != intake.Gzip {
		return nil, refused
	}
	return head, nil
}

// CleanName makes a name that can be kept: the last element of a path, in UTF-8, and no more of it than fits.
func CleanName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if name == "." || name == "/" {
		return ""
	}
	for len(name) > store.MaxImportName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

// keep reads the file to its end, keeps it and queues it; or gives its twin.
func (d *Desk) keep(ctx context.Context, i *store.Import, body io.Reader) (store.Import, error) {
	parts, err := newPartWriter(ctx, d.Imports, i.ID, 0, store.InputPart)
	if err != nil {
		return store.Import{}, err
	}
	sum := counted{Hash: sha256.New()}
	held := &heldBody{body: body, next: i.CreatedAt.Add(holdEvery), now: d.Now, hold: func(until time.Time) error {
		return d.Imports.HoldImport(ctx, i.ID, until)
	}}
	if _, err := io.Copy(io.MultiWriter(&sum, parts), held); err != nil {
		return store.Import{}, err
	}
	if err := parts.Close(); err != nil {
		return store.Import{}, err
	}
	i.SHA256, i.Bytes = hex.EncodeToString(sum.Sum(nil)), sum.bytes
	if twin, err := d.twin(ctx, i); err != nil || twin != nil {
		if err != nil {
			return store.Import{}, err
		}
		return *twin, nil
	}
	if err := insist(ctx, func() error { return d.Imports.QueueImport(ctx, i.ID, i.SHA256, i.Bytes) }); err != nil {
		return store.Import{}, err
	}
	i.State, i.LeasedUntil = store.ImportQueued, time.Time{}
	return *i, nil
}

// heldBody extends the lease of an import while its bytes come in.
type heldBody struct {
	body io.Reader
	next time.Time // when it is to be extended next
	now  func() time.Time
	hold func(until time.Time) error
}

// Read implements io.Reader. Where the claims database can not be used just now, the lease lasts until
// the next try.
func (h *heldBody) Read(into []byte) (int, error) {
	n, err := h.body.Read(into)
	if now := h.now(); err == nil && !now.Before(h.next) {
		h.next = now.Add(holdEvery)
		if err = h.hold(now.Add(receiveLease)); IsTransient(err) {
			err = nil
		}
	}
	return n, err
}

// counted is a hash that counts what it was given.
type counted struct {
	hash.Hash
	bytes int64
}

// Write implements io.Writer.
func (c *counted) Write(text []byte) (int, error) {
	c.bytes += int64(len(text))
	return c.Hash.Write(text)
}

// twin finds an import that waits or runs, of the same bytes as i and wanted in the same way; nil
// where there is none. With too many that wait or run it gives ErrBusy.
func (d *Desk) twin(ctx context.Context, i *store.Import) (*store.Import, error) {
	var page []store.Import
	err := insist(ctx, func() (err error) {
		page, err = d.Imports.Imports(ctx, 0, store.MaxImportPage)
		return err
	})
	if err != nil {
		return nil, err
	}
	waiting, now := 0, d.Now()
	for at := range page {
		other := &page[at]
		if !other.Kept || other.State.Ended() || other.State == store.ImportReceiving && !other.LeasedUntil.After(now) {
			continue
		}
		waiting++
		if i != nil && other.State != store.ImportReceiving && isSame(other, i) {
			return other, nil
		}
	}
	if i == nil && waiting >= maxWaiting {
		return nil, ErrBusy
	}
	return nil, nil
}

// isSame tells whether two imports are of the same bytes, wanted in the same way. A format that was not
// asked for is what is found, so that it is no other one.
func isSame(one, other *store.Import) bool {
	return one.SHA256 == other.SHA256 && one.DryRun == other.DryRun && one.StopOnError == other.StopOnError &&
		(one.Format == "" || other.Format == "" || one.Format == other.Format)
}

// giveUp ends an import whose bytes did not come in, or that is not needed. What it can not do
// now, Forget does.
func (d *Desk) giveUp(ctx context.Context, id uuid.UUID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpFor)
	defer cancel()
	err := insist(ctx, func() error { return d.Imports.DropParts(ctx, id, 0, store.InputPart, 0) })
	if errors.Is(err, store.ErrLostImport) {
		return // it was cancelled from outside, and is forgotten as others are
	}
	if err == nil {
		err = insist(ctx, func() error {
			_, err := d.Imports.CancelImport(ctx, id, d.Now())
			return err
		})
	}
	if err != nil {
		d.Logger.WarnContext(ctx, "import that did not come in could not be ended; it is forgotten later", "import", id, "error", err)
	}
}

// FormatName gives the word for a format, as in --format and ?format=; "" for none.
func FormatName(format intake.Format) string {
	switch format {
	case intake.CSVTable:
		return "csv"
	case intake.NDJSON:
		return "ndjson"
	case intake.JSONList, intake.JSONObject:
		return "json"
	case intake.X12:
		return "x12"
	default:
		return ""
	}
}

// Formats are the words by which a format is asked for. 837d, as generate calls it, is x12.
func Formats() []string { return []string{"csv", "ndjson", "x12", "837d"} }

// FormatNamed gives the format that a word asks for; "" asks for none.
func FormatNamed(word string) (intake.Format, error) {
	switch word {
	case "":
		return intake.UnknownFormat, nil
	case "csv":
		return intake.CSVTable, nil
	case "ndjson":
		return intake.NDJSON, nil
	case "x12", "837d":
		return intake.X12, nil
	default:
		return intake.UnknownFormat, fmt.Errorf("there is no format %q; there are %s", word, strings.Join(Formats(), ", "))
	}
}
