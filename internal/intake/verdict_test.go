package intake_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
)

// corpora is where public collections of odd input are found, if at all.
const corpora = "../../../shared/data/corpora"

// corpus gives the files of a folder that the project does not carry.
func corpus(t *testing.T, folder, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("%s is not here; this test runs where it is", filepath.Join(folder, pattern))
	}
	return files
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func validate(draft *claim.Draft) (*claim.Claim, []claim.Violation) {
	validator := claim.Validator{
		Rules: claim.DefaultRules(),
		Now:   func() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) },
	}
	return validator.Validate(draft)
}

// trial is one input and what is to be said of it.
type trial struct{ name, input, want string }

// trials reads a golden of trials, each of them "# name", the input as a Go string,
// and its verdict, of one line or more.
func trials(t testing.TB, file string) []trial {
	t.Helper()
	var found []trial
	seen := map[string]bool{}
	for block := range strings.SplitSeq(strings.TrimSpace(string(read(t, filepath.Join("testdata", file)))), "\n\n") {
		name, rest, _ := strings.Cut(block, "\n")
		quoted, want, _ := strings.Cut(rest, "\n")
		input, err := strconv.Unquote(quoted)
		if err != nil || !strings.HasPrefix(name, "# ") || seen[name] {
			t.Fatalf("%s: %s: %v: want a name of its own, and a Go string", file, name, err)
		}
		seen[name] = true
		found = append(found, trial{strings.TrimPrefix(name, "# "), input, want})
	}
	return found
}

// members are those of a line that is valid and nets 81.25.
func members(without string) string {
	var kept []string
	for _, member := range []string{
		`"service_date":"3/28/18 0:00"`, `"submitted_procedure":"D4346"`, `"quadrant":"UR"`, `"plan_group_number":"GRP-1000"`,
		`"subscriber_number":"3730189502"`, `"provider_npi":"1497775530"`, `"provider_fees":"$130.00 "`,
		`"allowed_fees":"$65.00 "`, `"member_coinsurance":"$16.25 "`, `"member_copay":"$0.00 "`,
	} {
		if without == "" || !strings.Contains(member, without) {
			kept = append(kept, member)
		}
	}
	return strings.Join(kept, ",")
}

var lineMark = regexp.MustCompile(`<line-?([a-z_]*)>`)

// expand puts the members of a valid line in the place of <line>, and all but one
// of them in the place of <line-FIELD>.
func expand(body string) string {
	return lineMark.ReplaceAllStringFunc(body, func(mark string) string {
		return members(lineMark.FindStringSubmatch(mark)[1])
	})
}

// describe gives all violations in one line.
func describe(violations []claim.Violation) string {
	var text []string
	for _, v := range violations {
		place := "claim"
		if v.Line != claim.WholeClaim {
			place = "line " + strconv.Itoa(v.Line)
		}
		text = append(text, strings.Join(strings.Fields(fmt.Sprint(place, " ", v.Field, " ", v.Code)), " "))
	}
	return strings.Join(text, "; ")
}

// verdict says what becomes of a body that was read as JSON.
func verdict(draft *claim.Draft, err error) string {
	var syntax *intake.SyntaxError
	var refused *intake.Refused
	switch {
	case errors.As(err, &syntax):
		return "syntax: " + syntax.Error()
	case errors.As(err, &refused):
		return "refused: " + describe(refused.Violations)
	case err != nil:
		return "unexpected: " + err.Error()
	}
	found, violations := validate(draft)
	if found == nil {
		return "invalid: " + describe(violations)
	}
	text := fmt.Sprintf("claim: %d lines, net %s", len(found.Lines), found.NetFee())
	if found.ExternalID != "" {
		text += ", id " + found.ExternalID
	}
	if draft.Source.Row > 0 {
		text += fmt.Sprintf(", row %d of %.8s", draft.Source.Row, draft.Source.FileSHA256)
	}
	if len(found.Warnings) > 0 {
		text += ", warned: " + describe(found.Warnings)
	}
	return text
}
