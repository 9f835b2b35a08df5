package intake_test

import (
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/intake"
)

// A format is told by content, not by name.
func TestSniff(t *testing.T) {
	t.Parallel()
	for want, prefixes := range map[intake.Format][]string{
		intake.UnknownFormat: {"", " \r\n\t", "\ufeff", "\x00\x00", "\x7fELF\x02\x01\x01\x00", "s\x00e\x00r\x00", "<html>", "%PDF-1.4"},
		intake.JSONList: {
			"[", "[]", " \n[{}]", "\ufeff[1]", "[\n{\"a\":1},\n{\"a\":2}\n]", "[{\"a\":1}\n,{\"a\":2}]", "[{}]\n", "[[\n[", "[{\"note\":\"}\"\n", "[1,\n[2]]",
		},
		intake.JSONObject: {"{", "{}", "{\n\"lines\":[]}", "{\"lines\":[{}]}\r\n\r\n", "{\"lines\":[]\n,\"source\":{}}", "{\"lines\":" + strings.Repeat("[", 99)},
		intake.NDJSON:     {"{}\n{}", "[]\n[", "{\"lines\":[]} \r\n\r\n {\"lines\":", "\ufeff{\"broken}\n{", "[{}]\n{}"},
		intake.CSVTable: {
			"a", "service date,x", "\"service\ndate\"", csvHead, "isa*1", "ISA,GS", "ISA number;x", "IS", "ISA", "isabel", "caf\xe9;x", "\xff\xfea\x00", "\xfe\xff\x00a",
			"17", "null",
		},
		intake.X12:  {"ISA*00*          *00*", "\r\nISA|00|", "ISA^00^"},
		intake.Gzip: {"\x1f\x8b\x08\x00"},
		intake.Zip:  {"PK\x03\x04\x14\x00", "PK\x05\x06"},
	} {
		for _, prefix := range prefixes {
			if got := intake.Sniff([]byte(prefix)); got != want {
				t.Errorf("%q: got %s, want %s", prefix, got, want)
			}
		}
	}
}
