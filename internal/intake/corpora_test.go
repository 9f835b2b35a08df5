package intake_test

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// The public collection of CSV files goes through the door: as it is, it names no columns of
// claims; in a cell that is ignored, it does no harm. What is rejected comes back.
func TestCSVSpectrumThroughOpen(t *testing.T) {
	t.Parallel()
	for _, path := range corpus(t, filepath.Join(corpora, "csv-spectrum", "csvs"), "*.csv") {
		text := string(read(t, path))
		got := fileVerdict(strings.NewReader(text), intake.Options{})
		if !strings.HasPrefix(got, "header: ") && filepath.Base(path) != "json.csv" {
			t.Errorf("%s: got %s, want its header refused", filepath.Base(path), got)
		}
		quoted := `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
		within := "claim number," + csvHead + ",note\nC-1," + csvRow + "," + quoted + "\nC-2," + csvRow + ",\n"
		if got, want := fileVerdict(strings.NewReader(within), intake.Options{}),
			"CSV\nclaim of rows 1, net 81.25, id C-1\nclaim of rows 2, net 81.25, id C-2"; got != want {
			t.Errorf("%s in a cell: got %s", filepath.Base(path), got)
		}
		checkReturn(t, within)
		checkReturn(t, "note,"+csvHead+"\n"+text) // as rows that are no claims
	}
}

// The public suite of JSON texts goes through the door: alone, and between lines that are
// claims, which it does not touch. What is rejected comes back.
func TestJSONTestSuiteThroughOpen(t *testing.T) {
	t.Parallel()
	good := expand(`{"external_claim_id":"C-1","lines":[{<line>}]}`)
	for _, path := range corpus(t, filepath.Join(corpora, "JSONTestSuite"), "*.json") {
		name, text := filepath.Base(path), string(read(t, path))
		if got := fileVerdict(strings.NewReader(text), intake.Options{}); strings.Contains(got, "unexpected") || strings.Contains(got, "\nclaim") {
			t.Errorf("%s: got %.300s", name, got)
		}
		checkReturn(t, text)
		between := good + "\n" + good + "\n" + text + "\n" + good + "\n"
		got := strings.Split(fileVerdict(strings.NewReader(between), intake.Options{}), "\n")
		if kept := strings.Count(strings.Join(got, "\n"), "net 81.25, id C-1"); kept != 3 {
			t.Errorf("%s between lines: got %d of the 3 claims around it: %.300s", name, kept, got)
		}
		oneLine := !strings.Contains(strings.TrimSpace(text), "\n") && len(strings.TrimSpace(text)) > 0
		if refused := len(got) == 5 && strings.HasSuffix(got[3], " syntax"); oneLine && (name[0] == 'y' && refused || name[0] == 'n' && !refused) {
			t.Errorf("%s between lines: got %.300s", name, got)
		}
		checkReturn(t, between)
	}
}

// Naughty strings in every column, and in one that is ignored, come through as they are, in CSV
// and in NDJSON, and come back from a file of rejects as they were.
func TestNaughtyStringsThroughOpen(t *testing.T) {
	t.Parallel()
	var naughty []string
	if err := json.Unmarshal(read(t, corpus(t, corpora, "blns.json")[0]), &naughty); err != nil {
		t.Fatal(err)
	}
	names := strings.Split("claim number,"+csvHead+",note", ",")
	for column, name := range names {
		table, lines := strings.Join(names, ",")+"\n", ""
		for i, word := range naughty {
			texts := append(append([]string{strconv.Itoa(i)}, strings.Split(csvRow, ",")...), "")
			texts[column] = `"` + strings.ReplaceAll(word, `"`, `""`) + `"`
			table += strings.Join(texts, ",") + "\r\n"
			quoted, err := json.Marshal(word)
			if err != nil {
				t.Fatal(err)
			}
			lines += fmt.Sprintf(`{"lines":[{"number":%d,"%s":%s}]}`+"\n", i, name, quoted)
		}
		field, known := intake.FieldOf(name)
		for format, input := range map[intake.Format]string{intake.CSVTable: table, intake.NDJSON: lines} {
			file, parcels, _ := rejected(t, input, true)
			if file == nil || file.Format() != format {
				t.Fatalf("%s as %s: got %+v", name, format, file)
			}
			if known && field >= 0 {
				got := map[string]int{}
				for _, parcel := range parcels {
					for i := range parcel.Draft.Lines {
						got[parcel.Draft.Lines[i].Fields[field].Text]++
					}
				}
				for _, word := range naughty {
					if got[word] == 0 {
						t.Errorf("%s as %s: %q did not come through", name, format, word)
					}
				}
			}
			checkReturn(t, input)
		}
	}
}

// limits of the test below, in bytes.
const (
	streamBytes  = 200 << 20 // of CSV
	linesBytes   = 50 << 20  // of NDJSON, unpacked
	maxHeapBytes = 64 << 20
)

// However long a file, packed or not, reading it, and writing all of it as rejects, takes no more
// memory than a short one.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 300 MB")
	}
	line := expand(`{"external_claim_id":"<number>","lines":[{<line>},{<line>}]}`) + "\n"
	lineOf := func(i int) string { return strings.Replace(line, "<number>", strconv.Itoa(i), 1) }
	rowOf := func(i int) string { return strconv.Itoa(i/4) + "," + csvRow + "," + strings.Repeat("note ", 20) + "\n" }
	head := strings.NewReader("claim number," + csvHead + ",note\n")
	for name, source := range map[string]io.Reader{
		"CSV":          io.MultiReader(head, &repeated{count: streamBytes / len(rowOf(1<<20)), row: rowOf}),
		"NDJSON":       &repeated{count: linesBytes / len(lineOf(1<<20)), row: lineOf},
		"NDJSON, gzip": packing(t, &repeated{count: linesBytes / len(lineOf(1<<20)), row: lineOf}),
	} {
		file, err := intake.Open(source, intake.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rejects := file.Rejects(io.Discard)
		var most, claims uint64
		for ; err == nil; claims++ {
			var parcel *intake.Parcel
			if parcel, err = file.Next(); err != nil {
				break
			}
			err = rejects.Add(parcel, file.Faults(parcel, []claim.Violation{{Line: claim.WholeClaim, Code: "other-claim", Severity: claim.Error}}))
			if claims%10_000 == 0 {
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				most = max(most, memory.HeapAlloc)
			}
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		if err := rejects.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d claims, heap of %d MB at most", name, claims, most>>20)
		if most > maxHeapBytes || claims < 50_000 {
			t.Errorf("%s: got a heap of %d MB for %d claims, want %d MB at most", name, most>>20, claims, maxHeapBytes>>20)
		}
	}
}

// A line costs the allocations of its claim, and a few for itself; a row of an export no more than
// any other.
func TestFileAllocations(t *testing.T) {
	const count = 2000
	lines := strings.Repeat(expand("{\"external_claim_id\":\"C-1\",\"lines\":[{<line>},{<line>},{<line>},{<line>}]}\n"), count)
	var rows strings.Builder
	rows.WriteString("claim_number,claim_key," + csvHead + "\n")
	for i := range count {
		rows.WriteString(strings.Repeat(fmt.Sprintf(",x12:%d,%s\n", i, csvRow), 4))
	}
	for name, test := range map[string]struct {
		input string
		most  float64
	}{"lines": {lines, 20}, "export": {rows.String(), 20}} {
		got := testing.AllocsPerRun(3, func() {
			file, err := intake.Open(strings.NewReader(test.input), intake.Options{})
			for err == nil {
				_, err = file.Next()
			}
			if err != io.EOF {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %.1f allocations a claim of four lines", name, got/count)
		if got/count > test.most {
			t.Errorf("%s: got %.1f allocations a claim of four lines, want %.0f at most", name, got/count, test.most)
		}
	}
}

func BenchmarkNDJSON(b *testing.B) {
	const count = 10_000
	input := strings.Repeat(expand("{\"external_claim_id\":\"C-1\",\"lines\":[{<line>},{<line>},{<line>},{<line>}]}\n"), count)
	for name, text := range map[string]string{"plain": input, "gzip": packed(b, input)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(input)))
			b.ReportAllocs()
			for b.Loop() {
				file, err := intake.Open(strings.NewReader(text), intake.Options{FileSHA256: "sum"})
				for err == nil {
					_, err = file.Next()
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(4*count), "ns/line")
		})
	}
}

// The claims of a file do not depend on how it comes in.
func TestFileSources(t *testing.T) {
	t.Parallel()
	lines := strings.Repeat(expand("{\"lines\":[{<line>}]}\r\n\n"), 300) + "hello"
	_, want, _ := rejected(t, lines, false)
	file, err := intake.Open(packing(t, &repeated{count: 1, row: func(int) string { return lines }}), intake.Options{FileSHA256: "sum"})
	if err != nil {
		t.Fatal(err)
	}
	var got []*intake.Parcel
	for err == nil {
		var parcel *intake.Parcel
		if parcel, err = file.Next(); err == nil {
			got = append(got, parcel)
		}
	}
	if diff := cmp.Diff(sayings(want), sayings(got)); diff != "" || err != io.EOF {
		t.Errorf("got %v; want -, got +:\n%s", err, diff)
	}
}
