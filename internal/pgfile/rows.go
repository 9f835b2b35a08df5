package pgfile

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// copyFrom is the number of rows from which COPY is the faster way: it costs a round trip
// for all of a transaction, and half of what a row costs otherwise.
const copyFrom = 64

// unnestFrom is the number of rows from which one array for each column is the faster way: what
// makes rows of them costs more than a few values do. Each number below it is a statement of
// its own, which every connection prepares once.
const unnestFrom = 9

// Rows are rows to be inserted, column by column; all columns are of one length.
type Rows struct {
	Table   string
	Columns []Column
}

// Column is one column of Rows.
type Column struct {
	Name   string
	Values Values
}

// Values are the values of a column, in the order of the rows.
type Values interface {
	size() int
	sqlType() string
	array() any     // as pgx takes it
	at(row int) any // one of them, likewise
	// appendField appends a value as COPY takes it: length and bytes.
	appendField(buffer []byte, row int) []byte
}

// The types of column that there are.
type (
	Int8s []int64     // bigint
	Texts []string    // text; no NUL in any of them
	Blobs [][]byte    // bytea
	UUIDs [][16]byte  // uuid
	Times []time.Time // timestamptz; cut to microseconds
)

func (v *Int8s) size() int       { return len(*v) }
func (v *Int8s) sqlType() string { return "bigint" }
func (v *Int8s) array() any      { return []int64(*v) }
func (v *Int8s) at(row int) any  { return (*v)[row] }
func (v *Int8s) appendField(buffer []byte, row int) []byte {
	buffer = binary.BigEndian.AppendUint32(buffer, 8)
	return binary.BigEndian.AppendUint64(buffer, uint64((*v)[row]))
}

func (v *Texts) size() int       { return len(*v) }
func (v *Texts) sqlType() string { return "text" }
func (v *Texts) array() any      { return []string(*v) }
func (v *Texts) at(row int) any  { return (*v)[row] }
func (v *Texts) appendField(buffer []byte, row int) []byte {
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(len((*v)[row])))
	return append(buffer, (*v)[row]...)
}

func (v *Blobs) size() int       { return len(*v) }
func (v *Blobs) sqlType() string { return "bytea" }
func (v *Blobs) array() any      { return [][]byte(*v) }
func (v *Blobs) at(row int) any  { return (*v)[row] }
func (v *Blobs) appendField(buffer []byte, row int) []byte {
	buffer = binary.BigEndian.AppendUint32(buffer, uint32(len((*v)[row])))
	return append(buffer, (*v)[row]...)
}

func (v *UUIDs) size() int       { return len(*v) }
func (v *UUIDs) sqlType() string { return "uuid" }
func (v *UUIDs) array() any      { return [][16]byte(*v) }
func (v *UUIDs) at(row int) any  { return (*v)[row] }
func (v *UUIDs) appendField(buffer []byte, row int) []byte {
	buffer = binary.BigEndian.AppendUint32(buffer, 16)
	return append(buffer, (*v)[row][:]...)
}

// epochMicros is 2000-01-01, from which Postgres counts, in microseconds since 1970.
const epochMicros = 946_684_800_000_000

func (v *Times) size() int       { return len(*v) }
func (v *Times) sqlType() string { return "timestamptz" }
func (v *Times) array() any      { return []time.Time(*v) }
func (v *Times) at(row int) any  { return (*v)[row] }
func (v *Times) appendField(buffer []byte, row int) []byte {
	buffer = binary.BigEndian.AppendUint32(buffer, 8)
	return binary.BigEndian.AppendUint64(buffer, uint64((*v)[row].UnixMicro()-epochMicros))
}

func (r *Rows) count() int { return r.Columns[0].Values.size() }

func (r *Rows) names() string {
	names := make([]string, len(r.Columns))
	for i, column := range r.Columns {
		names[i] = column.Name
	}
	return r.Table + " (" + strings.Join(names, ", ") + ")"
}

// values gives the statement that inserts all rows from one argument for each value.
func (r *Rows) values() string {
	var text strings.Builder
	text.WriteString("INSERT INTO " + r.names() + " VALUES ")
	parameter := 0
	for row := range r.count() {
		separator := "("
		if row > 0 {
			separator = ", ("
		}
		for _, column := range r.Columns {
			parameter++
			text.WriteString(separator + "$" + strconv.Itoa(parameter) + "::" + column.Values.sqlType())
			separator = ", "
		}
		text.WriteByte(')')
	}
	return text.String()
}

// arguments gives those of values.
func (r *Rows) arguments() []any {
	arguments := make([]any, 0, r.count()*len(r.Columns))
	for row := range r.count() {
		for _, column := range r.Columns {
			arguments = append(arguments, column.Values.at(row))
		}
	}
	return arguments
}

// unnest gives the statement that inserts all rows from one array for each column.
func (r *Rows) unnest() string {
	arrays := make([]string, len(r.Columns))
	for i, column := range r.Columns {
		arrays[i] = "$" + strconv.Itoa(i+1) + "::" + column.Values.sqlType() + "[]"
	}
	return "INSERT INTO " + r.names() + " SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ")"
}

func (r *Rows) arrays() []any {
	arrays := make([]any, len(r.Columns))
	for i, column := range r.Columns {
		arrays[i] = column.Values.array()
	}
	return arrays
}

func (r *Rows) copy() string { return "COPY " + r.names() + " FROM STDIN BINARY" }
