package x12_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/x12"
)

// isa gives a header of 106 bytes with a control number.
func isa(number int) string {
	return fmt.Sprintf("ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *260115*1200*^*00501*%09d*0*P*:~", number)
}

// gs gives the header of a group.
func gs(number int) string { return fmt.Sprintf("GS*HC*SENDER*RECEIVER*20260115*1200*%d*X*1~", number) }

// set gives a transaction set of three segments.
func set(number int) string { return fmt.Sprintf("ST*837*%04d~BHT*1~SE*3*%04d~", number, number) }

// whole gives an interchange of one group of the sets.
func whole(number int, sets ...string) string {
	return isa(number) + gs(number) + strings.Join(sets, "") + fmt.Sprintf("GE*%d*%d~IEA*1*%09d~", len(sets), number, number)
}

// tell gives each part in one line: its kind, its segments and what is wrong.
func tell(t testing.TB, r io.Reader) []string {
	t.Helper()
	reader, err := x12.NewReader(r)
	if err != nil {
		return []string{err.Error()}
	}
	var told []string
	for {
		part, err := reader.Next()
		if err == io.EOF {
			return told
		}
		if err != nil {
			return append(told, err.Error())
		}
		var text strings.Builder
		text.WriteString([...]string{"set", "continuation", "stray", "envelope"}[part.Kind])
		for i := range part.Len() {
			text.WriteString(" " + part.Segment(i).ID())
		}
		for _, fault := range part.Faults {
			fmt.Fprintf(&text, "; %s %s at %d, line %d", fault.Code, fault.Element, fault.Segment, fault.Line)
		}
		told = append(told, text.String())
	}
}

// good is a set of set, as tell tells it.
const good = "set ST BHT SE"

// example is an input and the parts that it has.
type example struct {
	input string
	want  []string
}

// check holds examples against what is read, also where the bytes come in one by one.
func check(t *testing.T, examples map[string]example) {
	for name, test := range examples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, tell(t, strings.NewReader(test.input))); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(test.want, tell(t, iotest.OneByteReader(strings.NewReader(test.input)))); diff != "" {
				t.Errorf("byte by byte: want -, got +:\n%s", diff)
			}
		})
	}
}

// A group may have as many sets as the limit says; each set behind them is refused, and the next
// group begins anew.
func TestGroupSetsAreBounded(t *testing.T) {
	t.Parallel()
	var sets []string
	for n := range x12.MaxGroupSets + 2 {
		sets = append(sets, set(n))
	}
	told := tell(t, strings.NewReader(whole(1, sets...)+whole(2, set(0))))
	if len(told) != x12.MaxGroupSets+3 {
		t.Fatalf("got %d parts, want a set each", len(told))
	}
	for n, got := range told {
		want := good
		if n == x12.MaxGroupSets || n == x12.MaxGroupSets+1 {
			want = fmt.Sprintf("%s; too-many-sets ST at %d, line 1", good, 3+3*n)
		}
		if got != want {
			t.Errorf("set %d: got %q, want %q", n, got, want)
		}
	}
}

// Sets come whole, in order, whatever stands around them; what is wrong with an envelope is told
// behind what was in it.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	check(t, map[string]example{
		"one":                     {whole(1, set(1)), []string{good}},
		"byte order mark, blanks": {"\xef\xbb\xbf\r\n " + whole(1, set(1)) + " \r\n\n", []string{good}},
		"lines":                   {strings.ReplaceAll(whole(1, set(1), set(2)), "~", "~\r\n"), []string{good, good}},
		"two interchanges":        {whole(1, set(1)) + "\n" + whole(2, set(1)), []string{good, good}},
		"other delimiters behind": {whole(1, set(1)) + strings.NewReplacer("*", "|", ":", "<", "~", "\n").Replace(whole(2, set(1))), []string{good, good}},
		"last terminator missing": {strings.TrimSuffix(whole(1, set(1)), "~"), []string{good}},
		"answer between":          {isa(1) + "TA1*000000001*260115*1200*A*000~" + strings.TrimPrefix(whole(1, set(1)), isa(1)), []string{good}},
		"no set":                  {whole(1), []string{"envelope; group-empty GE01 at 3, line 1"}},
		"count of segments":       {whole(1, "ST*837*0001~SE*3*0001~", set(2)), []string{"set ST SE; set-count SE01 at 4, line 1", good}},
		"count is no number":      {whole(1, "ST*837*0001~SE*+2*0001~"), []string{"set ST SE; set-count SE01 at 4, line 1"}},
		"number of the set":       {whole(1, "ST*837*0001~SE*2*0002~"), []string{"set ST SE; set-control-number SE02 at 4, line 1"}},
		"no number of the set":    {whole(1, "ST*837~SE*2~"), []string{"set ST SE; set-control-number ST02 at 3, line 1"}},
		"number twice":            {whole(1, set(1), set(1)), []string{good, "set ST BHT SE; set-number-repeated ST02 at 6, line 1"}},
		"set not closed":          {whole(1, "ST*837*0001~BHT~", set(2)), []string{"set ST BHT; set-unclosed SE at 5, line 1", good}},
		"set not closed, GE":      {whole(1, "ST*837*0001~BHT~"), []string{"set ST BHT; set-unclosed SE at 5, line 1"}},
		"set without group":       {isa(1) + set(1) + "IEA*0*000000001~", []string{"set ST BHT SE; no-group GS at 2, line 1"}},
		"number of the group": {isa(1) + gs(1) + set(1) + "GE*1*2~IEA*1*000000001~", []string{
			good, "envelope; group-control-number GE02 at 6, line 1",
		}},
		"no number of the group": {isa(1) + "GS*HC~" + set(1) + "GE*1~IEA*1*000000001~", []string{
			"envelope; group-control-number GS06 at 2, line 1", "set ST BHT SE; group-control-number GS at 3, line 1",
		}},
		"count of sets": {isa(1) + gs(1) + set(1) + "GE*2*1~IEA*1*000000001~", []string{good, "envelope; group-count GE01 at 6, line 1"}},
		"group not closed": {isa(1) + gs(1) + set(1) + gs(2) + set(1) + "GE*1*2~IEA*2*000000001~", []string{
			good, "envelope; group-unclosed GE at 6, line 1", good,
		}},
		"count and number of the interchange": {isa(1) + gs(1) + set(1) + "GE*1*1~IEA*2*000000002~", []string{
			good, "envelope; interchange-control-number IEA02 at 7, line 1", "envelope; interchange-count IEA01 at 7, line 1",
		}},
		"interchange not closed": {isa(1) + gs(1) + set(1) + "GE*1*1~" + whole(2, set(1)), []string{
			good, "envelope; interchange-unclosed IEA at 7, line 1", good,
		}},
		"end missing": {isa(1) + gs(1) + set(1) + "\n", []string{
			good, "envelope; group-unclosed GE at 5, line 2", "envelope; interchange-unclosed IEA at 5, line 2",
		}},
	})
}

// What is no segment, or no interchange, is refused with its place, and what follows is
// read as if nothing had been.
func TestBrokenText(t *testing.T) {
	t.Parallel()
	check(t, map[string]example{
		"cut inside a segment": {isa(1) + gs(1) + "ST*837*0001~NM1*IL*1*SM", []string{
			"set ST NM1; segment-unclosed  at 4, line 1; set-unclosed SE at 4, line 1",
			"envelope; group-unclosed GE at 4, line 1", "envelope; interchange-unclosed IEA at 4, line 1",
		}},
		"cut, and another interchange": {isa(1) + gs(1) + "ST*837*0001~NM1*IL*1*SM" + whole(2, set(7)), []string{
			"set ST NM1; segment-unclosed  at 4, line 1; set-unclosed SE at 5, line 1",
			"envelope; group-unclosed GE at 5, line 1", "envelope; interchange-unclosed IEA at 5, line 1", good,
		}},
		"text between": {whole(1, set(1)) + "hello ISA*\n" + whole(2, set(1)) + "bye\x00", []string{
			good, "envelope; text-outside  at 7, line 1", good, "envelope; text-outside  at 14, line 2",
		}},
		"stray segments": {whole(1, set(1), "CLM*1~LX*1~", set(2)), []string{
			good, "stray CLM LX; misplaced-segment  at 6, line 1", good, "envelope; group-count GE01 at 11, line 1",
		}},
		"trailers alone": {isa(1) + "SE*1*1~GE*1*1~IEA*0*000000001~", []string{"stray SE; misplaced-segment  at 2, line 1", "stray GE; misplaced-segment  at 3, line 1"}},
		"short header": {strings.Replace(whole(1, set(1)), "RECEIVER       ", "RECEIVER", 1) + whole(2, set(1)), []string{
			"envelope; interchange-header ISA at 1, line 1", "set ST BHT SE; interchange-header ISA at 3, line 1", good,
		}},
		"short header inside": {isa(1) + gs(1) + "ISA*00*~GS*HC*****7~" + set(1) + "GE*1*7~IEA*1*~", []string{
			"envelope; group-unclosed GE at 3, line 1", "envelope; interchange-unclosed IEA at 3, line 1",
			"envelope; interchange-header ISA at 3, line 1", "set ST BHT SE; interchange-header ISA at 5, line 1",
		}},
		"no number of the interchange": {strings.ReplaceAll(whole(1, set(1)), "000000001", "         "), []string{
			"envelope; interchange-control-number ISA13 at 1, line 1", "set ST BHT SE; interchange-control-number ISA at 3, line 1",
		}},
		"two terminators": {whole(1, "ST*837*0001~~SE*2*0001~"), []string{"set ST  SE; segment-name  at 4, line 1; set-count SE01 at 5, line 1"}},
		"small name":      {whole(1, "ST*837*0001~nm1*IL~SE*3*0001~"), []string{"set ST nm1 SE; segment-name  at 4, line 1"}},
		"elements":        {whole(1, "ST*837*0001~K3"+strings.Repeat("*", 64)+"~K3"+strings.Repeat("*", 65)+"~SE*4*0001~"), []string{"set ST K3 K3 SE; too-many-elements  at 5, line 1"}},
		"long segments": {whole(1, "ST*837*0001~K3*"+strings.Repeat("x", x12.MaxSegmentBytes-3)+"~SE*3*0001~",
			"ST*837*0002~K3*"+strings.Repeat("x", 3*x12.MaxSegmentBytes)+"~SE*3*0002~", set(3)), []string{
			"set ST K3 SE", "set ST K3 SE; segment-too-long  at 7, line 1", good,
		}},
		"nothing":                  {"", []string{"line 1, column 1: empty: there is no interchange"}},
		"no interchange":           {"\n  GS*HC~", []string{"line 2, column 3: not X12, or its first segment is cut: an interchange begins with an ISA of 106 bytes, in which the delimiters are neither letters nor digits, nor part of an element"}},
		"terminator in an element": {strings.Replace(isa(1), "SENDER ", "SENDER~", 1) + gs(1), []string{"line 1, column 1: not X12, or its first segment is cut: an interchange begins with an ISA of 106 bytes, in which the delimiters are neither letters nor digits, nor part of an element"}},
		"letters as delimiters":    {strings.ReplaceAll(isa(1), "*", "x"), []string{"line 1, column 1: not X12, or its first segment is cut: an interchange begins with an ISA of 106 bytes, in which the delimiters are neither letters nor digits, nor part of an element"}},
	})
}

// Elements and components are found by number, and where there is none there is nothing.
func TestElements(t *testing.T) {
	t.Parallel()
	reader, err := x12.NewReader(strings.NewReader(whole(1, "ST*837*0001~SV3*AD:D2150:::x*100****~DTP~N3*a\x01b*~SE*5*0001~")))
	if err != nil {
		t.Fatal(err)
	}
	part, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	sv3, dtp, n3 := part.Segment(1), part.Segment(2), part.Segment(3)
	element, found := n3.ControlAt()
	_, none := sv3.ControlAt()
	got := []any{
		sv3.ID(), sv3.Element(1), sv3.Element(2), sv3.Element(6), sv3.Element(7), sv3.Component(1, 1), sv3.Component(1, 2), sv3.Component(1, 3),
		sv3.Component(1, 5), sv3.Component(1, 6), sv3.Component(2, 1), sv3.Elements(), dtp.ID(), dtp.Element(1), dtp.Elements(), element, found, none,
		part.Is(1, "SV3"), part.Is(1, "SV"), part.Is(2, "DTP"), part.Plain, part.Raw(1, 3), part.End(1), part.Raw(2, 2), part.OffsetOf(1), part.LineOf(1),
	}
	want := []any{
		"SV3", "AD:D2150:::x", "100", "", "", "AD", "D2150", "", "x", "", "100", 6, "DTP", "", 0, 1, true, false, true, false, true, false,
		"SV3*AD:D2150:::x*100****~DTP~", "~", "", int64(len(isa(1) + gs(1) + "ST*837*0001~")), 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// Behind a group it is known how many sets it had, how many it should have had, and what is
// wrong with its envelope.
func TestGroupEnd(t *testing.T) {
	t.Parallel()
	reader, err := x12.NewReader(strings.NewReader(isa(1) + gs(1) + set(1) + set(2) + "GE*3*2~" + gs(3) + set(1) + "IEA*2*000000001~"))
	if err != nil {
		t.Fatal(err)
	}
	var groups []*x12.Group
	for {
		part, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Kind == x12.TransactionSet && (len(groups) == 0 || groups[len(groups)-1] != part.Group) {
			groups = append(groups, part.Group)
		}
	}
	var got []x12.GroupEnd
	for _, group := range groups {
		got = append(got, group.End())
	}
	want := []x12.GroupEnd{
		{Sets: 2, Stated: 3, Codes: []string{x12.CodeGroupNumber, x12.CodeGroupCount}},
		{Sets: 1, Stated: -1, Codes: []string{x12.CodeGroupOpen}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// A set that is over a limit comes in parts that are no longer than it, none of which looks
// like a good one, and the next set is read as if nothing had been.
func TestSetTooLong(t *testing.T) {
	t.Parallel()
	segment := "K3*" + strings.Repeat("x", 12_000) + "~"
	count := x12.MaxSetBytes/len(segment) + 10
	for name, body := range map[string]string{
		"bytes":    strings.Repeat(segment, count),
		"segments": strings.Repeat("K3~", x12.MaxSetSegments+10),
	} {
		long := "ST*837*0001~" + body + "SE*1*0001~"
		reader, err := x12.NewReader(strings.NewReader(whole(1, long, set(2))))
		if err != nil {
			t.Fatal(err)
		}
		var back strings.Builder
		var told []string
		for {
			part, err := reader.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(part.Text) > x12.MaxSetBytes || part.Len() > x12.MaxSetSegments {
				t.Errorf("%s: a part of %d bytes, %d segments", name, len(part.Text), part.Len())
			}
			var codes strings.Builder
			for _, fault := range part.Faults {
				codes.WriteString(" " + fault.Code)
			}
			told = append(told, fmt.Sprint(part.Kind, codes.String()))
			back.WriteString(part.Text)
		}
		if diff := cmp.Diff([]string{"0 set-too-long", "1 set-too-long", "0"}, told); diff != "" {
			t.Errorf("%s: parts: want -, got +:\n%s", name, diff)
		}
		if back.String() != long+set(2) {
			t.Errorf("%s: the parts are not the sets", name)
		}
	}
}

// What is kept of a set behind its end is its control number, however long its ST is, and nothing
// where that is none; of a group that has ended, though a part of it is held, its header alone.
func TestSetsAreLetGo(t *testing.T) {
	const most = 4 << 20 // where all of them together have 25 MB and more
	long := strings.Repeat("x", 15_000)
	for _, test := range []struct {
		name         string
		groups, sets int
		form         string // of a set
	}{
		{"long ST", 1, 2000, "ST*837*%04d*" + long + "~SE*2*%[1]04d~"},
		{"long number", 1, 2000, "ST*837*%04d" + long + "~SE*2*%[1]04d~"},
		{"many groups", 100, 5000, "ST*837*%04d~SE*2*%[1]04d~"},
	} {
		body, feed := io.Pipe()
		go func() {
			_, _ = io.WriteString(feed, isa(1))
			for group := range test.groups {
				_, _ = io.WriteString(feed, gs(group))
				for i := range test.sets {
					_, _ = fmt.Fprintf(feed, test.form, i)
				}
				_, _ = fmt.Fprintf(feed, "GE*%d*%d~", test.sets, group)
			}
			_ = feed.Close()
		}()
		reader, err := x12.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		held := make([]*x12.Part, 0, test.groups)
		for range test.groups {
			for i := range test.sets {
				part, err := reader.Next()
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					held = append(held, part)
				}
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > most {
			t.Errorf("%s: %d bytes are kept, want %d at most", test.name, kept, most)
		}
		runtime.KeepAlive(held)
		_ = body.Close()
	}
}

// The size of a part counts the headers that it holds, which may be longer than all of its text.
func TestSizeCountsHeaders(t *testing.T) {
	t.Parallel()
	long := "GS*HC*" + strings.Repeat("x", 15_000) + "*RECEIVER*20260115*1200*1*X*1~"
	reader, err := x12.NewReader(strings.NewReader(isa(1) + long + set(1) + "GE*1*1~IEA*1*000000001~"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := reader.Next()
	if err != nil {
		t.Fatal(err)
	}
	if least := len(isa(1)) + len(long) + len(set(1)); part.Size() < least {
		t.Errorf("got %d bytes, want %d or more", part.Size(), least)
	}
}

// An error of the source is given, and no set that might lack segments before it.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection lost")
	got := tell(t, io.MultiReader(strings.NewReader(isa(1)+gs(1)+set(1)+"ST*837*0002~"+strings.Repeat("K3*x~", 20_000)), iotest.ErrReader(broken)))
	if diff := cmp.Diff([]string{"set ST BHT SE", "read X12: connection lost"}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if _, err := x12.NewReader(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("header: got %v, want the error of the source", err)
	}
}

// What is written reads back, and a delimiter in an element is an error, never two elements.
func TestWriter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := x12.NewWriter(&out)
	w.Use(x12.Delimiters{Element: '*', Component: ':', Repetition: '^', Terminator: '~'}, "~\n")
	w.Segment("ST", "999", "0001", "", "")
	w.Raw("K3*x~\r\nK3*y", 2)
	w.Segment("CTX", w.Composite("CLM01", "C-1", ""))
	if n := w.Count(); n != 4 {
		t.Errorf("got %d segments, want 4", n)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "ST*999*0001~\nK3*x~\r\nK3*y~\nCTX*CLM01:C-1~\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, element := range []string{"a*b", "a~b", w.Composite("a:b")} {
		w := x12.NewWriter(&out)
		w.Use(x12.Delimiters{Element: '*', Component: ':', Terminator: '~'}, "~")
		if element == "a:b" {
			element = w.Composite(element)
		}
		w.Segment("K3", element)
		if w.Flush() == nil {
			t.Errorf("%q: got no error", element)
		}
	}
}

// No input makes the reader panic, stop or lose a byte of a segment: the texts of the parts stand
// in the input, in order, and between them there are envelopes only.
func FuzzReader(f *testing.F) {
	f.Add([]byte(whole(1, set(1), set(1), "CLM*1~") + "x" + whole(2, set(1))))
	f.Add([]byte(strings.ReplaceAll(whole(1, set(1), "ST*837*0002~NM1*IL"), "~", "~\n") + isa(2)))
	f.Fuzz(func(t *testing.T, input []byte) {
		reader, err := x12.NewReader(bytes.NewReader(input))
		if err != nil {
			if _, ok := errors.AsType[*x12.SyntaxError](err); !ok {
				t.Fatalf("got %v, want a *SyntaxError", err)
			}
			return
		}
		at := int64(0)
		for {
			part, err := reader.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if part.Kind != x12.TransactionSet && len(part.Faults) == 0 || part.Kind != x12.Envelope && part.Len() == 0 {
				t.Fatalf("part of kind %d: %d faults, %d segments", part.Kind, len(part.Faults), part.Len())
			}
			if part.Offset < at || part.Kind != x12.Envelope && !strings.HasPrefix(string(input[part.Offset:]), part.Segment(0).ID()) {
				t.Fatalf("part at %d does not stand there, or behind %d", part.Offset, at)
			}
			if part.Kind != x12.Envelope {
				at = part.Offset
			}
		}
	})
}
