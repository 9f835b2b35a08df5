package intake_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// countClaims counts the claims of a file without the reader: segments that are called CLM, up to the end of
// the interchange. It counts only where there is one header, of the right length.
func countClaims(input string) (count int, ok bool) {
	if strings.Count(input, "ISA") != 1 || len(input) < 106 || len(input) > intake.MaxRowBytes/4 {
		return 0, false
	}
	separator, terminator := input[3:4], input[105:106]
	for segment := range strings.SplitSeq(input[106:], terminator) {
		name, _, _ := strings.Cut(strings.TrimLeft(segment, " \t\r\n"), separator)
		switch name {
		case "CLM":
			count++
		case "IEA":
			return count, true
		}
	}
	return count, true
}

// checkX12 holds one parcel against what holds for all.
func checkX12(t *testing.T, one *outcome) {
	t.Helper()
	parcel := one.parcel
	switch {
	case parcel.Draft == nil && (len(parcel.Refused) == 0 || len(parcel.Rows) != 1):
		t.Fatalf("a parcel without a claim, refused for %d reasons, of %d rows", len(parcel.Refused), len(parcel.Rows))
	case parcel.Draft != nil && (parcel.Claims != 1 || len(parcel.Draft.Lines) > claim.MaxLines+1):
		t.Fatalf("a claim that counts as %d, of %d lines", parcel.Claims, len(parcel.Draft.Lines))
	}
	wrong := 0
	for _, fault := range one.faults {
		if fault.Severity == claim.Error {
			wrong++
		}
		if fault.Segment < 1 || fault.Line < 1 || fault.Message == "" || fault.Row != 0 {
			t.Fatalf("fault without a place: %+v", fault)
		}
	}
	if (one.claim == nil) != (wrong > 0) {
		t.Fatalf("accepted %t with %d errors", one.claim != nil, wrong)
	}
}

// No file makes the reader panic or lose a claim: what is accepted and rejected together are the
// claims of the file; what is rejected can be read again and has the same claims; the
// answer to the file is well in itself.
func FuzzX12(f *testing.F) {
	isa := expandX12("<isa>")
	for _, test := range trials(f, "x12.verdicts") {
		f.Add([]byte(strings.TrimPrefix(expandX12(test.input), isa)))
	}
	f.Add([]byte(strings.TrimPrefix(expandX12(rejectedX12), isa)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		input := string(raw)
		if !strings.HasPrefix(input, "ISA") { // so that a change does not break the header first
			input = isa + input
		}
		reader, err := intake.NewX12(strings.NewReader(input))
		if err != nil {
			if _, ok := errors.AsType[*intake.SyntaxError](err); !ok {
				t.Fatalf("got %v, want a *SyntaxError", err)
			}
			return
		}
		var out, answer bytes.Buffer
		rejects, acknowledgement := reader.Rejects(&out), reader.Acknowledgement(&answer)
		claims, rejected, headers := 0, 0, true
		for _, one := range judgeX12(t, reader) {
			checkX12(t, &one)
			claims += one.parcel.Claims
			err := acknowledgement.Add(one.parcel, one.faults)
			if one.claim == nil {
				rejected += one.parcel.Claims
				err = errors.Join(err, rejects.Add(one.parcel, one.faults))
				headers = headers && one.faults[0].Column != "ISA"
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(acknowledgement.Close(), rejects.Close()); err != nil {
			t.Fatal(err)
		}
		if want, ok := countClaims(input); ok && headers && claims != want {
			t.Fatalf("got %d claims, want %d", claims, want)
		}
		if answer.Len() > 0 {
			checkAnswer(t, "answer", answer.String())
		}
		if out.Len() == 0 || !headers { // an ISA that can not be read is given back as it stood
			return
		}
		again := 0
		for _, one := range judgeX12(t, openX12(t, &out)) {
			again += one.parcel.Claims
		}
		if again != rejected {
			t.Fatalf("rejected %d claims, and gave back %d", rejected, again)
		}
	})
}

// However long a file is, what the reader keeps of it is a set or two.
func TestX12KeepsWithinItsLimits(t *testing.T) {
	const (
		sets   = 64
		claims = 1000 // some 340 KB
		most   = 16 << 20
	)
	one := manyX12(claims)
	body := one[strings.Index(one, "ST*837"):strings.Index(one, "GE*1*7~")]
	readers := []io.Reader{strings.NewReader(expandX12("<isa>"))}
	for range sets {
		readers = append(readers, strings.NewReader(expandX12("<gs>")), strings.NewReader(body), strings.NewReader("GE*1*7~"))
	}
	reader := openX12(t, io.MultiReader(readers...))
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for given := 0; ; given++ {
		_, err := reader.Next()
		if err == io.EOF {
			if given < sets*claims {
				t.Errorf("got %d claims, want %d", given, sets*claims)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if given%claims != claims/2 {
			continue
		}
		runtime.GC()
		if runtime.ReadMemStats(&now); now.HeapAlloc > before.HeapAlloc+most {
			t.Fatalf("set %d: %d bytes more than at the start, want %d at most", given/claims, now.HeapAlloc-before.HeapAlloc, most)
		}
	}
}
