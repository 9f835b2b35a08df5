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
	columns   int
	many, one *sql.Stmt
}

// prepareInsert prepares an insert. into ends before VALUES; after follows the rows.
func prepareInsert(prepare func(string) *sql.Stmt, into string, columns int, after string) insert {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	statement := func(rows int) *sql.Stmt {
		return prepare(into + " VALUES " + row + strings.Repeat(", "+row, rows-1) + after)
	}
	return insert{columns: columns, many: statement(rowsAtOnce), one: statement(1)}
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
