package api_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/store"
)

// claimX12 gives a claim of one line of 130.00, under the subscriber in front of it.
func claimX12(number, date string) string {
	return "CLM*" + number + "*130***11:B:1*Y*A*Y*Y~DTP*472*D8*" + date + "~LX*1~SV3*AD:D4346*130**10**1~"
}

// Parts of X12. levelsX12 opens the levels of a provider and a subscriber.
const (
	envelopeX12 = "ISA*00*          *00*          *ZZ*CLINIC         *ZZ*PLAN           *180401*1200*^*00501*000000001*0*P*:~" +
		"GS*HC*CLINIC*PLAN*20180401*1200*7*X*005010X224A2~"
	levelsX12 = "BHT*0019*00*1*20180401*1200*CH~NM1*41*2*CLINIC*****46*C1~NM1*40*2*PLAN*****46*P1~" +
		"HL*1**20*1~NM1*85*2*CLINIC*****XX*1497775530~" +
		"HL*2*1*22*0~SBR*P*18*GRP-1000******CI~NM1*IL*1*DOE*JANE****MI*3730189502~"
)

// Of a file of X12 the bad claim and the bad set alone are not taken. They come back in envelopes of
// their own, and the answer has a verdict for each set: accepted with errors, rejected, accepted.
func TestImportX12(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	badClaim := claimX12("C-2", "2018")
	badSet := "ST*837*0002*005010X224A2~" + levelsX12 + claimX12("C-3", "20180328") + "SE*4*0002~" // and it has 14 segments
	text := envelopeX12 + "ST*837*0001*005010X224A2~" + levelsX12 + claimX12("C-1", "20180328") + badClaim + "SE*18*0001~" + badSet +
		"ST*837*0003*005010X224A2~" + levelsX12 + claimX12("C-4", "20180329") + "SE*14*0003~GE*3*7~IEA*1*000000001~"
	path := b.want(b.send(http.MethodPost, "/v1/imports", text, "Content-Type: application/edi-x12"), 202).header.Get("Location")
	got := b.ended(path)
	same(t, "claims", got.Claims, api.Fates{Read: 4, Accepted: 2, Rejected: 2})
	if got.State != store.ImportDone || got.Format != "x12" || got.PartFaults != 1 || b.stored() != 2 {
		t.Errorf("got %+v and %d claims stored, want x12, done, with 2 claims, and a fault of a set", got, b.stored())
	}
	rejects := b.want(b.send(http.MethodGet, path+"/rejects", ""), 200)
	same(t, "rejects", rejects.body, envelopeX12+"ST*837*0001*005010X224A2~"+levelsX12+badClaim+"SE*14*0001~"+badSet+"GE*2*7~IEA*1*000000001~")
	answered := b.want(b.send(http.MethodGet, path+"/acknowledgement", ""), 200)
	var verdicts []string
	for segment := range strings.SplitSeq(answered.body, "~") {
		if id, _, _ := strings.Cut(segment, "*"); id == "ST" || id == "AK2" || id == "IK5" || id == "AK9" || id == "CTX" {
			verdicts = append(verdicts, segment)
		}
	}
	same(t, "acknowledgement", verdicts, []string{
		"ST*999*0001*005010X231A1", "AK2*837*0001*005010X224A2", "CTX*CLM01:C-2", "IK5*E*5",
		"AK2*837*0002*005010X224A2", "IK5*R*4", "AK2*837*0003*005010X224A2", "IK5*A", "AK9*P*3*3*2",
	})
	for _, file := range []answer{rejects, answered} {
		if kind := file.header.Get("Content-Type"); kind != "application/edi-x12" {
			t.Errorf("got a file of %s, want X12", kind)
		}
	}
}

// A dry run counts and prices as the import would, and stores nothing; an import that is to stop at
// the first claim that is rejected stores what stands before it, and nothing behind, and says that it
// stopped.
func TestImportAsWanted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query, netFee string
		claims        api.Fates
		stored        int
		stopped       bool
	}{
		{"?dry_run=true", "243.75", api.Fates{Read: 4, Accepted: 3, Rejected: 1}, 0, false},
		{"?on_error=stop", "162.50", api.Fates{Read: 3, Accepted: 2, Rejected: 1}, 2, true},
		{"?dry_run=true&on_error=stop", "162.50", api.Fates{Read: 3, Accepted: 2, Rejected: 1}, 0, true},
		{"?on_error=continue", "243.75", api.Fates{Read: 4, Accepted: 3, Rejected: 1}, 3, false},
	} {
		b := setup(t)
		b.working()
		sent := b.want(b.send(http.MethodPost, "/v1/imports"+tt.query, table("A", "B", "C!", "D"), "Content-Type: text/csv"), 202)
		got := b.ended(sent.header.Get("Location"))
		same(t, tt.query+": claims", got.Claims, tt.claims)
		same(t, tt.query+": stopped", got.Stopped, tt.stopped)
		if got.State != store.ImportDone || got.NetFee != tt.netFee || got.DryRun != strings.Contains(tt.query, "dry_run") {
			t.Errorf("%s: got %+v, want it done with net fee %s", tt.query, got, tt.netFee)
		}
		page := decode[api.ClaimPage](t, b.want(b.send(http.MethodGet, "/v1/claims", ""), 200).body)
		if len(page.Claims) != tt.stored {
			t.Errorf("%s: got %d claims, want %d", tt.query, len(page.Claims), tt.stored)
		}
	}
}

// A small file that unpacks to hundreds of times its length fails, says why, and nothing is stored.
func TestImportOfBomb(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(table()))
	for blank := bytes.Repeat([]byte(" "), 1<<20); packed.Len() < 80<<10; { // 64 MiB may come out of any file
		_, _ = w.Write(blank)
	}
	_, _ = w.Write([]byte("\n" + table("A")))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := b.ended(b.want(b.send(http.MethodPost, "/v1/imports", packed.String(), "Content-Type: application/gzip"), 202).header.Get("Location"))
	if got.State != store.ImportFailed || got.Error != "this gzip file unpacks to more than 250 times its length: send it unpacked" {
		t.Errorf("got %s, %q, want that it failed, since it unpacks to too much", got.State, got.Error)
	}
	same(t, "claims", got.Claims, api.Fates{Read: 1, Rejected: 1}) // the blanks are one row, which is too long
	same(t, "claims stored", b.stored(), 0)
}

// A file of X12 that ends too early is imported as far as it goes, and does not look whole: what is missing
// at its end is counted.
func TestImportCutX12(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.working()
	text := envelopeX12 + "ST*837*0001*005010X224A2~" + levelsX12 + claimX12("C-1", "20180328") + "SE*14*0001~"
	got := b.ended(b.want(b.send(http.MethodPost, "/v1/imports", text, "Content-Type: application/edi-x12"), 202).header.Get("Location"))
	same(t, "claims", got.Claims, api.Fates{Read: 1, Accepted: 1})
	if got.State != store.ImportDone || got.PartFaults < 1 {
		t.Errorf("got %+v, want it done, with faults of its group and interchange", got)
	}
}
