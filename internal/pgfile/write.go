package pgfile

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Tx is a transaction under way. Its statements wait until an answer is needed, and
// then go together: a transaction whose answers nobody needs is one round trip, BEGIN
// and COMMIT included, and one more where rows go by COPY. It is for one goroutine.
type Tx struct {
	conn    *pgx.Conn
	buffers *sync.Pool // of *[]byte
	waiting *pgx.Batch
	copies  []string // tables whose COPY was sent, and its answer not read
	begun   bool     // the server has heard of it
}

// Queue adds a statement. Its rows go to what is set with Query, QueryRow or Exec
// of the answer, when Flush or the end of the transaction sends it.
func (t *Tx) Queue(query string, arguments ...any) *pgx.QueuedQuery {
	if !t.begun && t.waiting.Len() == 0 {
		t.waiting.Queue("BEGIN")
	}
	return t.waiting.Queue(query, arguments...)
}

// AwaitStandbys is a statement after which the commit of its transaction waits for the standbys,
// where the server has synchronous ones, though nothing was changed. Who only finds a row needs it
// before saying that it is kept: a commit whose wait was cancelled shows its rows, and only the
// primary has them. It writes a record that means nothing to the log, and else does nothing.
const AwaitStandbys = `SELECT pg_logical_emit_message(true, 'claimrail', '') WHERE current_setting('synchronous_standby_names') <> ''`

// Flush sends what waits, and has the answers read.
func (t *Tx) Flush(ctx context.Context) error {
	if err := t.readCopies(ctx); err != nil {
		return err
	}
	if t.waiting.Len() == 0 {
		return nil
	}
	sent := t.waiting
	t.waiting, t.begun = &pgx.Batch{}, true
	return t.conn.SendBatch(ctx, sent).Close()
}

// Insert adds the rows: a few with the statements that wait, many by COPY. What is wrong
// with them is an error of a later call.
func (t *Tx) Insert(ctx context.Context, rows Rows) error {
	switch count := rows.count(); {
	case count == 0:
		return nil
	case count < unnestFrom:
		t.Queue(rows.values(), rows.arguments()...)
		return nil
	case count < copyFrom:
		t.Queue(rows.unnest(), rows.arrays()...)
		return nil
	}
	return t.sendCopy(ctx, &rows)
}

// Write runs do in a transaction and commits it. When do gives an error or panics,
// everything is rolled back. Once do is through, ctx no longer counts: a caller that
// went away must not make the outcome doubtful. what names the action in errors.
// Errors: those of do and of statements it left waiting, ErrUnavailable,
// ErrUnknownOutcome.
func (s *Schema) Write(ctx context.Context, what string, do func(context.Context, *Tx) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	tx := &Tx{conn: conn.Conn(), buffers: &s.buffers, waiting: &pgx.Batch{}}
	finished := false
	defer func() { release(conn, tx, finished) }()
	doing, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := do(doing, tx); err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := tx.readCopies(ending); err != nil {
		return fmt.Errorf("%s: %w", what, Classify(err))
	}
	if err := tx.commit(ending); err != nil {
		return fmt.Errorf("%s: %w", what, classifyCommit(err))
	}
	finished = true
	return nil
}

// commit sends what waits, with COMMIT behind it.
func (t *Tx) commit(ctx context.Context) error {
	known := t.conn.PgConn().CustomData()
	delete(known, noStandby)
	t.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return errNotCommitted
		}
		if known[noStandby] != nil {
			return errNoStandby
		}
		return nil
	})
	return t.Flush(ctx)
}

// noStandby is what a connection knows where its last commit did not wait for the standbys to the end.
const noStandby = "claimrail: no standby"

// errNoStandby: somebody cancelled the wait, as pg_cancel_backend does, and the server has committed alone. The
// same again waits once more.
var errNoStandby = errors.New("the commit did not wait for the standby")

// noteNoStandby notes a server's warning that it has committed alone. Its text is in the server's
// language, and its code is that of any warning; the place in the source is not.
func noteNoStandby(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[noStandby] = true
	}
}

// release gives the connection back, out of any transaction; where that is not
// sure, it is closed.
func release(conn *pgxpool.Conn, tx *Tx, finished bool) {
	defer conn.Release()
	if finished || !tx.begun || tx.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if len(tx.copies) > 0 { // answers are on their way that nobody will read
		_ = tx.conn.Close(ctx)
		return
	}
	if _, err := tx.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = tx.conn.Close(ctx) // it is given back as closed; nothing to learn from it
	}
}
