package sqlitestore

import (
	"context"
	"database/sql"
	"strings"
)

// rowsAtOnce is how many rows one statement of an insert takes. More gain nothing
// that can be measured.
const rowsAtOnce = 32

// insert adds rows to a table, many with each statement.
type insert struct {
	columns   int // that are bound
	many, one *sql.Stmt
}

// prepareInsert prepares an insert. into ends before VALUES; row is one of them, with a ? for each
// value to come; after follows the rows.
func prepareInsert(prepare func(string) *sql.Stmt, into, row, after string) insert {
	statement := func(rows int) *sql.Stmt {
		return prepare(into + " VALUES " + row + strings.Repeat(", "+row, rows-1) + after)
	}
	return insert{columns: strings.Count(row, "?"), many: statement(rowsAtOnce), one: statement(1)}
}

// run inserts rows, whose values stand one behind the other.
func (i *insert) run(ctx context.Context, tx *sql.Tx, values []any) error {
	many, one := tx.StmtContext(ctx, i.many), tx.StmtContext(ctx, i.one)
	for size := i.columns * rowsAtOnce; len(values) >= size; values = values[size:] {
		if _, err := many.ExecContext(ctx, values[:size]...); err != nil {
			return err
		}
	}
	for ; len(values) > 0; values = values[i.columns:] {
		if _, err := one.ExecContext(ctx, values[:i.columns]...); err != nil {
			return err
		}
	}
	return nil
}

// bound is a row whose columns are all bound.
func bound(columns int) string { return "(?" + strings.Repeat(", ?", columns-1) + ")" }

// room gives a list with room for the values of so many rows.
func (i *insert) room(rows int) []any { return make([]any, 0, rows*i.columns) }
