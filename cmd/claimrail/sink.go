package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of an import.
const (
	maxStdinBytes   = 1 << 30 // what is spooled of standard input
	claimsInFlight  = store.MaxBatchClaims
	requestInFlight = 8 // requests to a server at once
)

// source is a file to import, and its SHA-256, which names the claims that have no number.
type source struct {
	file   *os.File
	sha256 string
}

// openSource opens a file and reads it once for its hash. Standard input is copied to a
// temporary file first, since it can be read only once.
func openSource(name string, stdin io.Reader) (source, error) {
	var file *os.File
	var err error
	if name == stdinName {
		file, err = spool(stdin)
	} else {
		file, err = os.Open(name)
	}
	if err != nil {
		return source{}, hint(&fileError{name, bare(err)}, "give the path of a CSV file, or - for standard input")
	}
	hash := sha256.New()
	if _, err = io.Copy(hash, file); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return source{}, errors.Join(&fileError{name, bare(err)}, file.Close())
	}
	return source{file, hex.EncodeToString(hash.Sum(nil))}, nil
}

func (s source) close() error { return s.file.Close() }

// spool copies standard input to a file that has no name any more.
func spool(stdin io.Reader) (*os.File, error) {
	file, err := os.CreateTemp("", "claimrail-import-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	err = os.Remove(file.Name()) // it holds PHI: nobody else may find it
	if err == nil {
		var copied int64
		copied, err = io.Copy(file, io.LimitReader(stdin, maxStdinBytes+1))
		if err == nil && copied > maxStdinBytes {
			err = fmt.Errorf("standard input is longer than %d bytes; import it as a file", maxStdinBytes)
		}
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// sink takes claims in: the data directory, or a server.
type sink interface {
	// inFlight is how many accept may be called at once.
	inFlight() int
	// accept judges a claim, and answers when it is stored.
	accept(ctx context.Context, reader *intake.CSV, parcel *intake.Parcel) judged
	close() error
}

// openSink opens what --server, or the data directory, names.
func (p *program) openSink(ctx context.Context, c config) (sink, error) {
	if p.server == "" {
		return p.openLocalSink(ctx, c)
	}
	if p.settings["CLAIMRAIL_DATA_DIR"].set {
		return nil, misuse(errors.New("--server and --data-dir exclude each other"), "leave one of them out")
	}
	r, err := newRemote(p.server)
	if err != nil {
		return nil, err
	}
	// For claims that are refused before they are sent: the server judges all others.
	return &remoteSink{r, &claim.Validator{Rules: c.Rules, Now: time.Now}}, nil
}

// localSink is the claims database of a data directory, under its lock.
type localSink struct {
	claims    store.Engine
	validator *claim.Validator
	committer *store.Committer
	stop      context.CancelFunc
	stopped   chan error // what the committer's Run gave
	unlock    func() error
}

func (p *program) openLocalSink(ctx context.Context, c config) (_ *localSink, err error) {
	unlock := func() error { return nil }
	if c.DatabaseURL == "" {
		if unlock, err = lockDataDir(c.DataDir, "import", ""); err != nil {
			return nil, err
		}
	}
	s := &localSink{unlock: unlock}
	logger := p.logger(c)
	if s.claims, err = openClaims(ctx, c, logger); err != nil {
		return nil, errors.Join(err, unlock())
	}
	secret, err := s.claims.IdentitySecret(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the claims database: %w", err), s.claims.Close(), unlock())
	}
	s.validator = &claim.Validator{Rules: c.Rules, Identity: claim.NewIdentity(secret), Now: time.Now}
	s.committer = store.NewCommitter(s.claims, time.Now, logger)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop, s.stopped = stop, make(chan error, 1)
	go func() { s.stopped <- s.committer.Run(running) }()
	return s, nil
}

func (s *localSink) inFlight() int { return claimsInFlight }

func (s *localSink) close() error {
	s.stop()
	return errors.Join(<-s.stopped, s.claims.Close(), s.unlock())
}

func (s *localSink) accept(ctx context.Context, reader *intake.CSV, parcel *intake.Parcel) judged {
	result := judged{rows: countRows(parcel)}
	valid, found := s.validator.Validate(parcel.Draft)
	if valid == nil || len(parcel.Refused) > 0 {
		result.faults = reader.Faults(parcel, found)
		return result
	}
	outcome, err := s.committer.Submit(ctx, store.Submission{Claim: valid})
	if err == nil {
		err = outcome.Err
	}
	if err != nil {
		if result.faults = faultOf(parcel, err); result.faults == nil {
			result.err = err
		}
		return result
	}
	result.stored = importedClaim{
		ClaimID: valid.ID.String(), ExternalClaimID: valid.ExternalID, Duplicate: outcome.Existing,
		NetFee: valid.NetFee(), Lines: make([]importedLine, len(valid.Lines)), warnings: len(valid.Warnings),
	}
	for i := range valid.Lines {
		line := &valid.Lines[i]
		result.stored.Lines[i] = importedLine{line.Procedure, line.ProviderNPI.String(), line.NetFee()}
	}
	return result
}

// countRows counts the rows of a claim; the rest of one that is too long is none.
func countRows(parcel *intake.Parcel) int {
	rows := 0
	for i := range parcel.Rows {
		if !parcel.Rows[i].Rest {
			rows++
		}
	}
	return rows
}

// remoteSink is a server, which judges by its own rules.
type remoteSink struct {
	*remote
	validator *claim.Validator
}

func (s *remoteSink) inFlight() int { return requestInFlight }

func (s *remoteSink) accept(ctx context.Context, reader *intake.CSV, parcel *intake.Parcel) judged {
	result := judged{rows: countRows(parcel)}
	if len(parcel.Refused) > 0 {
		_, found := s.validator.Validate(parcel.Draft)
		result.faults = reader.Faults(parcel, found)
		return result
	}
	body, err := json.Marshal(newClaimBody(parcel.Draft))
	if err != nil {
		result.err = fmt.Errorf("encode claim: %w", err)
		return result
	}
	var stored api.Claim
	status, err := s.postText(ctx, body, &stored, "v1", "claims")
	if err != nil {
		if result.faults = remoteFaults(reader, parcel, err); result.faults == nil {
			result.err = err
		}
		return result
	}
	result.stored, result.err = newImported(&stored, status == http.StatusOK)
	return result
}

// claimBody is a claim as POST /v1/claims takes it.
type claimBody struct {
	ExternalClaimID string              `json:"external_claim_id,omitempty"`
	Lines           []map[string]string `json:"lines"`
	Source          struct {
		FileSHA256 string `json:"file_sha256"`
		Row        int    `json:"row"`
	} `json:"source"`
}

func newClaimBody(draft *claim.Draft) claimBody {
	body := claimBody{ExternalClaimID: draft.ExternalID.Text, Lines: make([]map[string]string, len(draft.Lines))}
	body.Source.FileSHA256, body.Source.Row = draft.Source.FileSHA256, draft.Source.Row
	for i := range draft.Lines {
		body.Lines[i] = make(map[string]string, claim.FieldCount)
		for field, raw := range draft.Lines[i].Fields {
			if raw.Shape == claim.Text {
				body.Lines[i][claim.Field(field).String()] = raw.Text
			}
		}
	}
	return body
}

// remoteFaults puts what a server refuses to the rows of the file; nil where it is not the
// claim that is refused.
func remoteFaults(reader *intake.CSV, parcel *intake.Parcel, err error) []intake.Fault {
	if faults := faultOf(parcel, err); faults != nil {
		return faults
	}
	refused, ok := errors.AsType[*refusedError](err)
	if !ok {
		return nil
	}
	switch refused.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
	default:
		return nil
	}
	if len(refused.Errors) == 0 {
		refused.Errors = []api.ProblemError{{Code: refused.Code, Message: refused.Detail}}
	}
	var found []claim.Violation
	for _, one := range refused.Errors {
		v := claim.Violation{Line: claim.WholeClaim, Field: claim.NoField, Code: one.Code, Severity: claim.Error, Message: one.Message}
		if one.Line != nil && *one.Line >= 0 && *one.Line < len(parcel.Rows) {
			v.Line = *one.Line
		}
		if field, known := claim.FieldNamed(one.Field); known {
			v.Field = field
		} else if one.Field == claim.ExternalIDField.String() {
			v.Field = claim.ExternalIDField
		}
		found = append(found, v)
	}
	return reader.Faults(parcel, found)
}

// newImported reads a claim as a server gave it.
func newImported(c *api.Claim, duplicate bool) (importedClaim, error) {
	stored := importedClaim{ClaimID: c.ClaimID, Duplicate: duplicate, Lines: make([]importedLine, len(c.Lines)), warnings: len(c.Warnings)}
	if c.ExternalClaimID != nil {
		stored.ExternalClaimID = *c.ExternalClaimID
	}
	var err error
	for i := range c.Lines {
		line := &c.Lines[i]
		stored.Lines[i] = importedLine{Procedure: line.SubmittedProcedure, ProviderNPI: line.ProviderNPI}
		if stored.Lines[i].NetFee, err = money.Parse(line.NetFee); err != nil {
			return stored, fmt.Errorf("net fee of claim %s: %w", c.ClaimID, err)
		}
	}
	if stored.NetFee, err = money.Parse(c.NetFee); err != nil {
		return stored, fmt.Errorf("net fee of claim %s: %w", c.ClaimID, err)
	}
	return stored, nil
}
