package pgfile

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Limits of a COPY.
const (
	// copyMessage is the size in bytes from which on a new message is begun: the server
	// reads a message whole before it stores the first row of it.
	copyMessage = 64 << 10
	// maxKeptBuffer is the size in bytes up to which a buffer is kept for the next COPY.
	maxKeptBuffer = 4 << 20
)

// sendCopy sends the rows, and BEGIN in front of the first, but does not wait for the answer:
// while the server stores them, those of the next table are made ready. pgx has a round trip for
// the statement and one for the rows of each. Where a COPY fails, the server passes over its rows
// and refuses all that follows, so that nothing has to be held back until it is known.
//
// The answers are few and short, far less than a socket holds, so that neither side ever
// waits for the other to read.
func (t *Tx) sendCopy(ctx context.Context, rows *Rows) error {
	if t.waiting.Len() > 0 {
		if err := t.Flush(ctx); err != nil {
			return err
		}
	}
	buffer, kept := t.buffers.Get().(*[]byte)
	if !kept {
		buffer = new([]byte)
	}
	bytes := (*buffer)[:0]
	if !t.begun {
		bytes, t.begun = appendQuery(bytes, "BEGIN"), true
		t.copies = append(t.copies, "")
	}
	bytes = appendQuery(bytes, rows.copy())
	bytes = rows.appendBinary(bytes)
	t.copies = append(t.copies, rows.Table)
	err := t.send(ctx, bytes)
	if *buffer = bytes; cap(bytes) <= maxKeptBuffer {
		t.buffers.Put(buffer)
	}
	return err
}

// send writes to the server. Once that fails, the connection is of no more use.
func (t *Tx) send(ctx context.Context, bytes []byte) error {
	conn := t.conn.PgConn().Conn()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return fmt.Errorf("send rows: %w", err)
		}
	}
	if err := t.conn.PgConn().Frontend().SendUnbufferedEncodedCopyData(bytes); err != nil {
		return fmt.Errorf("send rows: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("send rows: %w", err)
	}
	return nil
}

// readCopies reads the answers to all that sendCopy sent, and gives the first error: the
// others are that the transaction has failed. None of them has anything to do with a
// COMMIT, for it is only sent behind them.
func (t *Tx) readCopies(ctx context.Context) error {
	var failed error
	for len(t.copies) > 0 {
		message, err := t.conn.PgConn().ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *pgproto3.ReadyForQuery:
			t.copies = slices.Delete(t.copies, 0, 1)
		case *pgproto3.ErrorResponse:
			if failed == nil {
				failed = fmt.Errorf("insert into %s: %w", t.copies[0], pgconn.ErrorResponseToPgError(message))
			}
		}
	}
	return failed
}

// appendQuery appends a message of the simple protocol: a statement, which is parsed and run.
func appendQuery(buffer []byte, query string) []byte {
	buffer = append(buffer, 'Q')
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(4+len(query)+1))
	return append(append(buffer, query...), 0)
}

// appendBinary appends the messages of a COPY that has begun: the rows in its binary format (a
// header, each row behind the number of its fields, and a trailer), and its end.
func (r *Rows) appendBinary(buffer []byte) []byte {
	const header = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	const trailer = "\xff\xff"
	const done = "c\x00\x00\x00\x04"
	start := len(buffer)
	buffer = append(append(buffer, 'd', 0, 0, 0, 0), header...)
	for row := range r.count() {
		if len(buffer)-start >= copyMessage {
			endMessage(buffer, start)
			start = len(buffer)
			buffer = append(buffer, 'd', 0, 0, 0, 0)
		}
		buffer = binary.BigEndian.AppendUint16(buffer, uint16(len(r.Columns)))
		for _, column := range r.Columns {
			buffer = column.Values.appendField(buffer, row)
		}
	}
	buffer = append(buffer, trailer...)
	endMessage(buffer, start)
	return append(buffer, done...)
}

// endMessage writes the length of the message that begins at start and ends with the buffer.
func endMessage(buffer []byte, start int) {
	binary.BigEndian.PutUint32(buffer[start+1:], uint32(len(buffer)-start-1))
}
