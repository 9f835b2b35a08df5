package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
)

// The answer that is written out by hand is, to the byte, what the encoder makes of
// the type that the specification shows, whatever text a valid claim can hold.
func TestProcessedLines(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.OneOf(
		rapid.SampledFrom([]rune{'"', '\\', '/', '<', '>', '&', '\'', 0xfffd, 0x1f600}),
		rapid.RuneFrom(nil, unicode.L, unicode.N, unicode.P, unicode.S),
	))
	amount := rapid.Int64Range(0, int64(money.MaxParsed))
	rapid.Check(t, func(t *rapid.T) {
		c := claim.Claim{ID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), Lines: make([]claim.Line, rapid.IntRange(1, 5).Draw(t, "lines"))}
		first := rapid.Int64Range(1, 1<<62).Draw(t, "first")
		want := make([]ProcessedLine, len(c.Lines))
		for i := range c.Lines {
			c.Lines[i] = claim.Line{
				ServiceDate: claim.ServiceDateFromUnix(rapid.Int64Range(-2208988800, 7258118399).Draw(t, "date")), // 1900 to 2199
				Procedure:   text.Draw(t, "procedure"), Quadrant: text.Draw(t, "quadrant"), PlanGroupNumber: text.Draw(t, "group"),
				SubscriberNumber:  claim.NewSubscriberNumber(text.Draw(t, "subscriber")),
				ProviderNPI:       claim.NPI(rapid.Int64Range(0, 9_999_999_999).Draw(t, "npi")),
				ProviderFees:      money.Cents(amount.Draw(t, "fees")),
				AllowedFees:       money.Cents(amount.Draw(t, "allowed")),
				MemberCoinsurance: money.Cents(amount.Draw(t, "coinsurance")),
				MemberCopay:       money.Cents(amount.Draw(t, "copay")),
			}
			want[i] = ProcessedLine{first + int64(i), c.ID.String(), newLineFields(&c.Lines[i])}
		}
		var encoded bytes.Buffer
		encoder := json.NewEncoder(&encoded)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(encoded.String(), string(appendProcessedLines(nil, &c, first))); diff != "" {
			t.Errorf("answer: want -, got +:\n%s", diff)
		}
	})
}

// A body comes whole, in one piece or byte by byte, behind a length that is told or not, and
// into room that held another.
func TestReadBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 511, 512, 513, usualBody, 5 * usualBody, MaxBodyBytes} {
		body := strings.Repeat("claims", size/6+1)[:size]
		for _, told := range []int64{int64(size), -1} {
			r := httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(strings.NewReader(body)))
			if size > 10*usualBody {
				r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			}
			r.ContentLength = told
			got, err := readBody(httptest.NewRecorder(), r, []byte("another body"))
			if err != nil || string(got) != body {
				t.Errorf("%d bytes, length %d: got %d others, %v", size, told, len(got), err)
			}
		}
	}
}

// fourLines is a claim as senders write it.
const fourLines = `[` + oneLine + `,` + oneLine + `,` + oneLine + `,` + oneLine + `]`

const oneLine = `{"service_date":"3/28/18 0:00","submitted_procedure":"D4346","quadrant":"UR","Plan/Group #":"GRP-1000",` +
	`"Subscriber#":"3730189502","Provider NPI":"1497775530","provider fees":"$130.00","Allowed fees":"$65.00",` +
	`"member coinsurance":"$16.25","member copay":"$0.00"}`

// The road of a claim of four lines through this program costs no more memory than it does
// today; what this test counts needs no clock.
func TestAllocations(t *testing.T) {
	d := new(desk)
	validator := claim.Validator{Rules: claim.DefaultRules(), Now: time.Now}
	var c *claim.Claim
	text := []byte(fourLines)
	r, w := httptest.NewRequest(http.MethodPost, "/", nil), httptest.NewRecorder()
	for what, part := range map[string]struct {
		work              func()
		allocations, size float64 // at most; bytes
	}{
		"read the body": {func() {
			body := strings.NewReader(fourLines)
			r.Body, r.ContentLength = &bodyOf{body}, body.Size()
			if err := d.read(w, r); err != nil {
				t.Fatal(err)
			}
		}, 15, 800}, // one of them the race detector's
		"read and validate": {func() {
			draft, err := d.json.ReadLines(text)
			if err != nil {
				t.Fatal(err)
			}
			if c, _ = validator.Validate(draft); c == nil {
				t.Fatal("the claim is not valid")
			}
		}, 13, 3000},
	} {
		part.work()
		if got := testing.AllocsPerRun(100, part.work); got > part.allocations {
			t.Errorf("%s: got %v allocations, want %v at most", what, got, part.allocations)
		}
		if got := allocated(part.work); got > part.size {
			t.Errorf("%s: got %v bytes, want %v at most", what, got, part.size)
		}
	}
	answer := func() { d.answer = appendProcessedLines(d.answer[:0], c, 1) }
	if got := testing.AllocsPerRun(100, answer); got > 1 {
		t.Errorf("write the answer: got %v allocations, want 1 at most, for the id", got)
	}
}

// allocated gives the bytes that one run of work allocates.
func allocated(work func()) float64 {
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		work()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / runs
}

// bodyOf is a body of a request.
type bodyOf struct{ *strings.Reader }

// Close implements io.Closer.
func (bodyOf) Close() error { return nil }

// BenchmarkRead reads and validates a claim of four lines.
func BenchmarkRead(b *testing.B) {
	var reader intake.JSON
	validator := claim.Validator{Rules: claim.DefaultRules(), Now: time.Now}
	body := []byte(fourLines)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		draft, err := reader.ReadLines(body)
		if err != nil {
			b.Fatal(err)
		}
		validator.Validate(draft)
	}
}

// BenchmarkAnswer writes the answer to a claim of four lines.
func BenchmarkAnswer(b *testing.B) {
	draft, err := intake.ReadLines([]byte(fourLines))
	if err != nil {
		b.Fatal(err)
	}
	c, _ := (&claim.Validator{Rules: claim.DefaultRules(), Now: time.Now}).Validate(draft)
	var answer []byte
	b.ReportAllocs()
	for b.Loop() {
		answer = appendProcessedLines(answer[:0], c, 1)
	}
	b.SetBytes(int64(len(answer)))
}
