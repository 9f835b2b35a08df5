package intake

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/claimrail/claimrail/internal/claim"
)

// Options say what is known of a file before it is read.
type Options struct {
	// Format refuses a file that is of another one; UnknownFormat takes what the content is. A
	// single claim in JSON counts as NDJSON.
	Format Format
	// FileSHA256, in hex, will be the source of the claims; it may be empty. Of a file that is packed, OpenAgain
	// names claims that have no other name by the SHA-256 of what is in it instead: packed anew, it is the
	// same file.
	FileSHA256 string
}

// FormatError says that a file as a whole can not be read: it is of no format that is, of
// another than was asked for, or damaged as an archive. It holds no text of the file.
type FormatError struct {
	Found   Format // what it is, as far as can be told
	Problem string // what is wrong, and what to do
}

// Error gives the problem.
func (e *FormatError) Error() string { return e.Problem }

// File is a file of claims, of any format that is read, gzip'ed or not. Next belongs to one
// goroutine; any may call Faults and ReadBytes meanwhile.
type File struct {
	format Format
	source *meter
	claims reader
	packed bool
	named  string                    // FileSHA256 of the options
	inside string                    // SHA-256 of what is packed, in hex, once it was needed
	again  func() (io.Reader, error) // see OpenAgain; nil: of a file that is not packed
	csv    *CSV                      // one of the three is claims
	json   *jsonLines                // likewise
	x12    *X12Reader                // likewise
}

// reader is what the readers of all formats have in common.
type reader interface {
	Next() (*Parcel, error)
	Faults(*Parcel, []claim.Violation) []Fault
}

// Open finds out what a file is, and reads as much of it as its first claim needs. Errors:
// *FormatError, *SyntaxError, *HeaderError, and those of r, wrapped.
func Open(r io.Reader, options Options) (*File, error) {
	f := &File{source: &meter{source: r}, named: options.FileSHA256}
	prefix, content, err := peek(f.source)
	if f.packed = err == nil && Sniff(prefix) == Gzip; f.packed {
		prefix, content, err = peek(newUnpacker(f.source, content))
	}
	if err != nil {
		return nil, fmt.Errorf("read the start of the file: %w", err)
	}
	if f.format, err = judge(prefix, options.Format); err != nil {
		return nil, err
	}
	switch f.format {
	case CSVTable:
		f.csv, err = NewCSV(content, options.FileSHA256)
		f.claims = f.csv
	case NDJSON, JSONList, JSONObject:
		f.json, err = newJSONLines(content, options.FileSHA256, f.format != NDJSON && options.Format != NDJSON)
		f.claims = f.json
		if err == nil && !f.json.lines.whole {
			f.format = NDJSON
		}
	default:
		f.x12, err = NewX12(content)
		f.claims = f.x12
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Format tells what the file is; of one that is packed, what is in it. A JSON value on one
// line is NDJSON.
func (f *File) Format() Format { return f.format }

// Next gives the next claim. Errors: io.EOF behind the last; *FormatError where the file turns
// out to be damaged, *SyntaxError where nothing further can be read, and those of the source, wrapped.
func (f *File) Next() (*Parcel, error) {
	parcel, err := f.claims.Next()
	if err != nil || f.again == nil || parcel.Draft == nil || len(parcel.Refused) > 0 { // what is refused needs no name
		return parcel, err
	}
	if !parcel.Draft.NamedBySource() || parcel.Draft.Source.FileSHA256 != f.named {
		return parcel, nil
	}
	if f.inside == "" {
		if f.inside, err = sumInside(f.again); err != nil {
			return nil, err
		}
	}
	parcel.Draft.Source.FileSHA256 = f.inside
	return parcel, nil
}

// sumInside gives the SHA-256 of what a packed file has in it, in hex. Errors: *FormatError, and those of again and the
// source, wrapped.
func sumInside(again func() (io.Reader, error)) (string, error) {
	source, err := again()
	if err != nil {
		return "", err
	}
	metered, sum := &meter{source: source}, sha256.New()
	if _, err := io.Copy(sum, newUnpacker(metered, metered)); err != nil {
		return "", fmt.Errorf("read what is packed, for its name: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Faults gives all that is wrong with a claim: what the parcel was refused for, and what was
// found later, by Validate or by the claims database.
func (f *File) Faults(parcel *Parcel, found []claim.Violation) []Fault {
	return f.claims.Faults(parcel, found)
}

// ReadBytes is how much was read, of the file as it was sent.
func (f *File) ReadBytes() int64 { return f.source.read.Load() }

// peek looks at the start of a source.
func peek(source io.Reader) ([]byte, *bufio.Reader, error) {
	buffered := bufio.NewReaderSize(source, SniffBytes)
	prefix, err := buffered.Peek(SniffBytes)
	if err == io.EOF {
		err = nil
	}
	return prefix, buffered, err
}

// judge tells by its start whether a file can be read, and as what.
func judge(prefix []byte, asked Format) (Format, error) {
	found := Sniff(prefix)
	switch found {
	case Gzip:
		return 0, &FormatError{found, "gzip within gzip: unpack the file once, and send what is in it"}
	case Zip:
		return 0, &FormatError{found, "a zip archive, or a workbook: unpack it, or save the sheet as CSV UTF-8, and send that file"}
	case UnknownFormat:
		switch text := bytes.Trim(bytes.TrimPrefix(prefix, []byte(byteOrderMark)), " \t\r\n"); {
		case len(text) == 0:
			return 0, &FormatError{found, "the file is empty"}
		case text[0] == '<':
			return 0, &FormatError{found, "HTML or XML, as of a page that tells of an error: send CSV, NDJSON or X12"}
		case bytes.HasPrefix(text, []byte(pdfMark)):
			return 0, &FormatError{found, "a PDF document: send CSV, NDJSON or X12"}
		}
		return 0, &FormatError{found, "not text: send CSV, NDJSON or X12, as it is or packed by gzip; save a workbook as CSV UTF-8"}
	}
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(prefix, []byte(mark)) {
			return 0, &FormatError{found, "not UTF-8 but UTF-16: save the file as UTF-8; in a spreadsheet, as CSV UTF-8"}
		}
	}
	single := found == JSONList || found == JSONObject
	switch {
	case asked == UnknownFormat, asked == found, asked == NDJSON && single:
		return found, nil
	default:
		return 0, &FormatError{found, "the file looks like " + found.String() + ", not like " + asked.String() + ": name its format, or name none"}
	}
}

// meter counts what was read of a source, and keeps its error, so that it can be told
// from one of those who unpack.
type meter struct {
	source io.Reader
	read   atomic.Int64
	err    error // of the source; nil at its end
}

// Read reads on.
func (m *meter) Read(into []byte) (int, error) {
	n, err := m.source.Read(into)
	m.read.Add(int64(n))
	if err != io.EOF {
		m.err = err
	}
	return n, err
}
