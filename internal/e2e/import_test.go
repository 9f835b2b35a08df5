package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
)

// The files of these tests.
const (
	fileClaims    = 6000
	knownClaims   = 100                    // of these, that are stored before
	badEvery      = 97                     // a claim that can not be accepted
	importKills   = 20                     // of a test, in as many files as it takes, but for
	maxKillFiles  = importKills            // so many
	maxImportTime = 400 * time.Millisecond // from the start of a run to its kill; half as long with each file that ends before
	importTimeout = 120 * time.Second
	maxSingleWait = 5 * time.Second // for a single claim beside imports
)

// fates is what became of the claims of a file.
type fates struct{ Read, Accepted, Duplicate, Rejected int64 }

// importFile is a file of claims.
type importFile struct {
	name, path string
	want       fates // of its first import, where the first knownClaims are stored before
	good       []claim.Key
}

// again is what its import comes to once all of it is stored.
func (f importFile) again() fates {
	return fates{Read: f.want.Read, Duplicate: f.want.Accepted + f.want.Duplicate, Rejected: f.want.Rejected}
}

// asNew is the file where none of its claims are stored before.
func (f importFile) asNew() importFile {
	f.want.Accepted, f.want.Duplicate = f.want.Accepted+f.want.Duplicate, 0
	return f
}

// known is the path of a file of these claims.
func (f importFile) known() string { return strings.TrimSuffix(f.path, ".csv") + "-known.csv" }

// newImportFile writes a file of claims, whose good ones the history knows from now on.
func (s *system) newImportFile(h *history, random *rand.Rand, name string) importFile {
	s.Helper()
	file := importFile{name: name, path: filepath.Join(filepath.Dir(s.dir), name+".csv")}
	var rows bytes.Buffer
	rows.WriteString(importHeader)
	for n := range fileClaims {
		if n == knownClaims {
			s.writeFile(file.known(), rows.Bytes())
		}
		f := randomForm(random, fmt.Sprintf("%s-%d", name, n))
		f.key.Kind = claim.ExternalKey
		file.want.Read++
		switch {
		case n%badEvery == badEvery-1:
			f.lines[len(f.lines)-1]["provider_npi"] = "12345"
			file.want.Rejected++
		case n < knownClaims:
			file.want.Duplicate++
			file.good = append(file.good, f.key)
			h.attempt(f)
		default:
			file.want.Accepted++
			file.good = append(file.good, f.key)
			h.attempt(f)
		}
		f.writeRows(&rows)
	}
	s.writeFile(file.path, rows.Bytes())
	return file
}

const importHeader = "claim number,service date,submitted procedure,quadrant,plan group number,subscriber number,provider npi,provider fees,allowed fees,member coinsurance,member copay\n"

// writeRows writes the claim as CSV.
func (f form) writeRows(to *bytes.Buffer) {
	for _, line := range f.lines {
		to.WriteString(f.key.Value)
		for _, name := range []string{
			"service_date", "submitted_procedure", "quadrant", "plan_group_number", "subscriber_number", "provider_npi",
			"provider_fees", "allowed_fees", "member_coinsurance", "member_copay",
		} {
			to.WriteByte(',')
			if value := line[name]; value != nil {
				fmt.Fprint(to, value)
			}
		}
		to.WriteByte('\n')
	}
}

func (s *system) writeFile(path string, text []byte) {
	s.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.Fatal(err)
	}
}

// claimrail runs the program, kills it after a time if that is not 0, and gives what it wrote and
// its exit code; -1 where it was killed.
func (s *system) claimrail(killAfter time.Duration, args ...string) (stdout, stderr string, code int) {
	s.Helper()
	cmd := exec.Command(os.Getenv(programVariable), append(args, "--data-dir", s.dir)...)
	cmd.Dir = s.home
	cmd.Env = append([]string{"HOME=" + s.home, "USER=tester", "TMPDIR=" + s.home}, s.environ...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	dieWithParent(cmd)
	runtime.LockOSThread() // see dieWithParent
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		s.Fatalf("start claimrail %q: %v", args, err)
	}
	if killAfter == 0 {
		killAfter = importTimeout
	}
	killer := time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	_ = cmd.Wait() // ProcessState has the outcome
	return out.String(), messages.String(), cmd.ProcessState.ExitCode()
}

// importBody is what these tests read of an import.
type importBody struct {
	ID     string `json:"import_id"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Error  string `json:"error"`
	Claims fates  `json:"claims"`
	Lines  fates  `json:"lines"`
}

// imports lists the imports, the newest first.
func (s *system) imports() []importBody {
	s.Helper()
	var page struct {
		Imports []importBody `json:"imports"`
	}
	s.get("/v1/imports?limit=200").decode(&page)
	for _, i := range page.Imports {
		for _, f := range []fates{i.Claims, i.Lines} {
			if f.Read != f.Accepted+f.Duplicate+f.Rejected && i.State == "done" {
				s.Errorf("import %s: %+v does not add up", i.ID, f)
			}
		}
	}
	return page.Imports
}

// An import that is killed at any moment, again and again, goes on when the same command is given,
// and ends with counts as if nothing had happened; nothing is lost or stored twice.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s, h := newSystem(t), newHistory()
	files := s.importUnderKills(h, random)
	s.start()
	s.wantEnded(files)
	if report := s.finish(h); int64(report.Settled) != goodOf(files) {
		t.Errorf("got %d claims settled, want %d", report.Settled, goodOf(files))
	}
}

// The same into Postgres, beside running servers. And files that one of them has taken are
// imported to their end by another, where the first is killed and stays away.
func TestImportKilledOnPostgres(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	f, h := newFleet(t, 2), newHistory()
	first, other := f.claims[0], f.claims[1]
	typed := first.importUnderKills(h, random)
	before := first.wantEnded(typed)
	want, ids := goodOf(typed), map[string]importFile{}
	var last string
	for _, name := range []string{"february", "march"} {
		sent := first.newImportFile(h, random, name).asNew()
		want += sent.want.Accepted
		last = first.upload(sent.path, http.StatusAccepted)
		ids[last] = sent
	}
	first.kill()
	if got := other.importState(last).State; got == "done" {
		t.Errorf("the last file is %s before the server was killed", got)
	}
	for id, sent := range ids {
		if got := other.awaitImport(id); got.State != "done" || got.Claims != sent.want {
			t.Errorf("%s, taken over: got %s %s, %+v, want %+v", sent.name, got.State, got.Error, got.Claims, sent.want)
		}
		h.count(sent)
	}
	first.start()
	if all := first.imports(); len(all) != before+2 {
		t.Errorf("got imports %+v, want %d", all, before+2)
	}
	if report := f.finish(h); int64(report.Settled) != want {
		t.Errorf("got %d claims settled, want %d", report.Settled, want)
	}
}

// importUnderKills imports files on the command line, and kills that importKills times: where the import
// of one file ends before that, another follows. It gives the files.
func (s *system) importUnderKills(h *history, random *rand.Rand) (files []importFile) {
	s.Helper()
	within := maxImportTime
	for kills := 0; kills < importKills; within /= 2 {
		if len(files) == maxKillFiles {
			s.Fatalf("got %d kills in %d files, want %d", kills, len(files), importKills)
		}
		file := s.newImportFile(h, random, fmt.Sprintf("january-%d", len(files)))
		kills += s.importKilled(random, file, within, importKills-kills)
		h.count(file)
		files = append(files, file)
	}
	return files
}

// goodOf counts the claims of the files that are stored in the end.
func goodOf(files []importFile) (claims int64) {
	for _, file := range files {
		claims += file.want.Accepted + file.want.Duplicate
	}
	return claims
}

// importKilled imports a file, its first claims known before, and kills that at some moment within a
// time, and again, so many times at most. It gives how often it did: less, where the import had ended.
func (s *system) importKilled(random *rand.Rand, file importFile, within time.Duration, most int) (kills int) {
	s.Helper()
	if _, stderr, code := s.claimrail(0, "import", file.known()); code != 1 {
		s.Fatalf("import of what is known: got exit code %d, want 1 for its bad claim: %s", code, stderr)
	}
	rejects := file.path + ".rejects"
	var stdout, stderr string
	for code := -1; code < 0; {
		after := 1 + time.Duration(random.Int64N(int64(within)))
		if kills == most {
			after = 0
		}
		if stdout, stderr, code = s.claimrail(after, "import", file.path, "--json", "--rejects", rejects); code < 0 {
			if kills++; after == 0 {
				s.Fatalf("the import has not ended after %v: %s", importTimeout, stderr)
			}
		} else if code != 1 {
			s.Fatalf("got exit code %d, want 1 for the bad claims: %s", code, stderr)
		}
		wantNoPHI(s, "what import writes", []byte(stdout+stderr))
	}
	var report struct {
		Files []struct {
			Claims, Accepted, Duplicates, Rejected int64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Files) != 1 {
		s.Fatalf("got %q, %v, want a report: %s", stdout, err, stderr)
	}
	f := report.Files[0]
	if got := (fates{f.Claims, f.Accepted, f.Duplicates, f.Rejected}); got != file.want && got != file.again() {
		s.Errorf("after %d kills: got %+v, want %+v, or %+v", kills, got, file.want, file.again())
	}
	rows, err := os.ReadFile(rejects)
	if err != nil {
		s.Fatal(err)
	}
	for n := range fileClaims {
		if rejected := bytes.Contains(rows, fmt.Appendf(nil, "\n%s-%d,", file.name, n)); rejected != (n%badEvery == badEvery-1) {
			s.Errorf("claim %d: got it among the rejects %t, want %t", n, rejected, !rejected)
		}
	}
	s.Logf("%d kills; %+v", kills, f)
	return kills
}

// wantEnded demands that the imports of each file have the counts of a quiet day, and gives how many there
// are: one of the known claims in front, and behind that of the file one for each that had come to its end
// and was killed before it said so.
func (s *system) wantEnded(files []importFile) int {
	s.Helper()
	all := s.imports()
	for _, file := range files {
		want, known, own := file.want, 0, 0
		for i := len(all) - 1; i >= 0; i-- { // the oldest first
			switch all[i].Name {
			case filepath.Base(file.known()):
				known++
			case filepath.Base(file.path):
				if all[i].State != "done" || all[i].Claims != want {
					s.Errorf("import %d of %d: got %+v, want %+v", i, len(all), all[i], want)
				}
				want, own = file.again(), own+1
			}
		}
		if known != 1 || own < 1 {
			s.Errorf("got imports %+v, want one of %s and one at least of %s", all, file.known(), file.path)
		}
	}
	return len(all)
}

// A file that a server has taken is imported to its end, however often the server is killed, with
// the same counts; single claims are answered meanwhile.
func TestImportOnServerKilled(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s, h := newSystem(t), newHistory()
	s.start()
	var files []importFile
	var id string
	within := maxImportTime
	for kills := 0; kills < importKills; within /= 2 { // where the import of one file ends before, another follows
		if len(files) == maxKillFiles {
			t.Fatalf("got %d kills in %d files, want %d", kills, len(files), importKills)
		}
		file := s.newImportFile(h, random, fmt.Sprintf("february-%d", len(files)))
		files = append(files, file)
		s.awaitImport(s.upload(file.known(), http.StatusAccepted))
		id = s.upload(file.path, http.StatusAccepted)
		for ; kills < importKills && s.importState(id).State != "done"; kills++ {
			<-time.After(time.Duration(random.Int64N(int64(within))))
			s.kill()
			s.start()
		}
		s.accept(h, newForm(claim.ExternalKey, fmt.Sprintf("single-%d", len(files)), 100))
		got := s.awaitImport(id)
		if got.State != "done" || got.Claims != file.want {
			t.Errorf("after %d kills: got %s %s, %+v, want %+v", kills, got.State, got.Error, got.Claims, file.want)
		}
		h.count(file)
		t.Logf("%d kills so far; %+v", kills, got.Claims)
	}
	file := files[len(files)-1]
	faults := s.get("/v1/imports/" + id + "/faults")
	if rows := bytes.Count(faults.body, []byte("\n")); int64(rows) != file.want.Rejected {
		t.Errorf("got %d faults, want one of each of the %d bad claims", rows, file.want.Rejected)
	}
	wantNoPHI(t, "faults", faults.body)
	again := s.awaitImport(s.upload(file.path, http.StatusAccepted))
	if again.Claims.Accepted != 0 || again.Claims.Duplicate != file.want.Accepted+file.want.Duplicate {
		t.Errorf("the same file again: got %+v, want all of it duplicate", again.Claims)
	}
	s.imports()
	if report, want := s.finish(h), goodOf(files)+int64(len(files)); int64(report.Settled) != want {
		t.Errorf("got %d claims settled, want %d", report.Settled, want)
	}
}

// upload sends a file, and gives the id of its import.
func (s *system) upload(path string, want int) string {
	s.Helper()
	body, err := os.Open(path)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	answer, err := s.http.Post(s.server.url+"/v1/imports?name="+filepath.Base(path), "text/csv", body)
	if err != nil {
		s.Fatalf("upload: %v", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var created importBody
	if err := json.NewDecoder(answer.Body).Decode(&created); err != nil || answer.StatusCode != want {
		s.Fatalf("upload: got %d, %v, want %d", answer.StatusCode, err, want)
	}
	return created.ID
}

func (s *system) importState(id string) (i importBody) {
	s.Helper()
	s.get("/v1/imports/" + id).decode(&i)
	return i
}

// awaitImport waits until an import has ended.
func (s *system) awaitImport(id string) (i importBody) {
	s.Helper()
	s.until("the import has ended", importTimeout, func() bool {
		i = s.importState(id)
		return i.State == "done" || i.State == "failed" || i.State == "cancelled"
	})
	return i
}

// Single claims are answered while files are imported: neither waits for the other to be done.
func TestSingleClaimsDuringImports(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s, h := newSystem(t), newHistory()
	s.start()
	var ids []string
	for _, name := range []string{"march", "april"} {
		ids = append(ids, s.upload(s.newImportFile(h, random, name).path, http.StatusAccepted))
	}
	s.until("an import is at work", importTimeout, func() bool { return s.importState(ids[0]).Claims.Accepted > 0 })
	during, slowest := 0, time.Duration(0)
	for n := 0; n < 100 && s.importState(ids[1]).State != "done"; n++ {
		began := time.Now()
		s.accept(h, newForm(claim.ExternalKey, fmt.Sprintf("single-%d", n), 100))
		slowest = max(slowest, time.Since(began))
		during++
	}
	if during < 3 || slowest > maxSingleWait {
		t.Errorf("got %d single claims answered while files were imported, the slowest after %v; want more, within %v", during, slowest, maxSingleWait)
	}
	for _, id := range ids {
		if i := s.awaitImport(id); i.State != "done" || i.Claims.Accepted == 0 {
			t.Errorf("got %+v, want it done", i)
		}
	}
	s.finish(h)
	t.Logf("%d single claims while files were imported, the slowest after %v", during, slowest)
}
