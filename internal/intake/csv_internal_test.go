package intake

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// table cuts a file into the texts of its cells.
func table(t *testing.T, source io.Reader) [][]string {
	t.Helper()
	scanner := newRowScanner(source)
	var rows [][]string
	for {
		row, err := scanner.next()
		if err == io.EOF {
			return rows
		}
		if err != nil || row.fault != "" {
			t.Fatalf("row %d: got %v, %s", len(rows), err, row.fault)
		}
		var cells []string
		for _, found := range row.cells {
			cells = append(cells, string(unquoted(nil, row.raw, found)))
		}
		rows = append(rows, cells)
	}
}

// The public collection of CSV files, each with what is in it, is cut as it says.
func TestCSVSpectrum(t *testing.T) {
	t.Parallel()
	const folder = "../../../shared/data/corpora/csv-spectrum"
	files, err := filepath.Glob(filepath.Join(folder, "csvs", "*.csv"))
	if err != nil || len(files) == 0 {
		t.Skipf("%s is not here; this test runs where it is", folder)
	}
	for _, file := range files {
		input, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := os.ReadFile(filepath.Join(folder, "json", strings.TrimSuffix(filepath.Base(file), ".csv")+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var want []map[string]string
		if answer[0] == '{' { // one row stands there without a list around it
			answer = []byte("[" + string(answer) + "]")
		}
		if err := json.Unmarshal(answer, &want); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if filepath.Base(file) == "location_coordinates.csv" { // its answer has another number than the file itself
			want[0]["Contact Phone Number"] = "2095257564"
		}
		rows := table(t, bytes.NewReader(input))
		var got []map[string]string
		for _, row := range rows[1:] {
			object := map[string]string{}
			for i, text := range row {
				object[rows[0][i]] = text
			}
			got = append(got, object)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", filepath.Base(file), diff)
		}
	}
}

// What RFC 4180 and spreadsheets write is cut as they mean it; the project's own
// examples, of the same kinds as those of the public collection.
func TestCells(t *testing.T) {
	t.Parallel()
	for input, want := range map[string][][]string{
		"a,b\r\n1,2\r\n":              {{"a", "b"}, {"1", "2"}},
		"a,b\n\"1, 2\",3":             {{"a", "b"}, {"1, 2", "3"}},
		"a\r\"x\r\ny\nz\r\"\r":        {{"a"}, {"x\r\ny\nz\r"}},
		"\"say \"\"no\"\"\",\"\"\"\"": {{`say "no"`, `"`}},
		"a,,\"\",":                    {{"a", "", "", ""}},
		" a , \"b\" ,\t\"c\"\t":       {{" a ", "b", "c"}},
		"5\",x\"y\"":                  {{`5"`, `x"y"`}},
		"ü,ʤ\n\n\xff,\x00":            {{"ü", "ʤ"}, {"\xff", "\x00"}},
	} {
		if diff := cmp.Diff(want, table(t, strings.NewReader(input))); diff != "" {
			t.Errorf("%q: want -, got +:\n%s", input, diff)
		}
	}
}

// However long a file is, what the reader keeps of it stays within the limits: by
// rows where rows are short, by bytes where they are long, and by claims closed.
func TestCSVKeepsWithinItsLimits(t *testing.T) {
	t.Parallel()
	const header = "claim number,service date,submitted procedure,plan group,subscriber,provider npi," +
		"provider fees,allowed fees,member coinsurance,member copay,note\n"
	for _, test := range []struct{ rows, noteBytes int }{{3*rememberedClaims + 5, 1}, {6 * WindowBytes / 50_000, 50_000}} {
		reader, writer := io.Pipe()
		go func() {
			_, err := io.WriteString(writer, header)
			tail := ",,,,,,,,,," + strings.Repeat("x", test.noteBytes) + "\n"
			for i := 0; i < test.rows && err == nil; i++ {
				_, err = io.WriteString(writer, strconv.Itoa(i)+tail)
			}
			_ = writer.CloseWithError(err)
		}()
		file, err := NewCSV(bufio.NewReaderSize(reader, 1<<16), "")
		if err != nil {
			t.Fatal(err)
		}
		given, most := 0, 0
		for {
			parcel, err := file.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			given += len(parcel.Rows)
			open := &file.open
			most = max(most, len(open.queue))
			if len(open.claims) != len(open.queue) || len(open.queue) >= WindowRows || open.bytes > WindowBytes ||
				len(open.closed.recent)+len(open.closed.older) > 2*rememberedClaims {
				t.Fatalf("row %d: %d claims, %d in the queue, %d bytes, %d closed", file.lastRow, len(open.claims), len(open.queue),
					open.bytes, len(open.closed.recent)+len(open.closed.older))
			}
		}
		if given != test.rows || most < 100 {
			t.Errorf("notes of %d bytes: got %d rows, %d waiting at most, want %d rows", test.noteBytes, given, most, test.rows)
		}
		if len(file.open.claims) != 0 || file.open.bytes != 0 {
			t.Errorf("at the end: %d claims, %d bytes are still open", len(file.open.claims), file.open.bytes)
		}
	}
}
