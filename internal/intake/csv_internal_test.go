package intake

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
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
