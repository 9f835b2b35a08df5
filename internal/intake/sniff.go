package intake

import "bytes"

// Format is what a file is, as its first bytes tell.
type Format int

// The formats that can be told apart. Gzip and Zip hold a file of another one.
const (
	UnknownFormat Format = iota
	JSONList             // one claim, a list of lines
	JSONObject           // one claim, an object
	NDJSON               // a claim on each line
	CSVTable
	X12
	Gzip
	Zip
)

// String gives the format's name.
func (f Format) String() string {
	return [...]string{"unknown", "JSON list", "JSON object", "NDJSON", "CSV", "X12", "gzip", "zip"}[f]
}

// SniffBytes is how much of a file Sniff should be given. With less, or where the
// first claim is longer, NDJSON is taken for JSON.
const SniffBytes = 64 << 10

// Sniff tells the format of a file by its first bytes, of which there may be any
// number. Text that is nothing else is CSV, but for what is known to hold no table: HTML, XML, PDF; what holds
// NUL bytes is no text, unless it is UTF-16, which NewCSV refuses with advice.
func Sniff(prefix []byte) Format {
	for _, mark := range utf16Marks {
		if bytes.HasPrefix(prefix, []byte(mark)) {
			return CSVTable
		}
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(prefix, []byte(byteOrderMark)), " \t\r\n")
	switch {
	case bytes.HasPrefix(prefix, []byte("\x1f\x8b")):
		return Gzip
	case bytes.HasPrefix(prefix, []byte("PK\x03\x04")), bytes.HasPrefix(prefix, []byte("PK\x05\x06")):
		return Zip
	case len(text) == 0:
		return UnknownFormat
	case text[0] == '[', text[0] == '{':
		return sniffJSON(text)
	case bytes.IndexByte(prefix, 0) >= 0, text[0] == '<', bytes.HasPrefix(text, []byte(pdfMark)):
		return UnknownFormat
	case bytes.HasPrefix(text, []byte("ISA")) && len(text) > len("ISA") && isX12Separator(text[len("ISA")]):
		return X12
	default:
		return CSVTable
	}
}

// pdfMark begins a PDF document.
const pdfMark = "%PDF-"

// sniffJSON tells one value from one on each line. In no JSON does a line that ends
// with a closing bracket stand before a line that begins with an opening one: there
// would be a comma between them.
func sniffJSON(text []byte) Format {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	first, rest = bytes.TrimRight(first, " \t\r"), bytes.TrimLeft(rest, " \t\r\n")
	if last := first[len(first)-1]; last == '}' || last == ']' {
		if len(rest) > 0 && (rest[0] == '{' || rest[0] == '[') {
			return NDJSON
		}
	}
	if text[0] == '[' {
		return JSONList
	}
	return JSONObject
}

// isX12Separator tells whether c may stand behind ISA in an interchange, and not in
// the header of a table.
func isX12Separator(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return false
	default:
		return bytes.IndexByte([]byte(" _-#\"\r\n"+separators), c) < 0
	}
}
