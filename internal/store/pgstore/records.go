package pgstore

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/claimrail/claimrail/internal/store"
)

// Records gives whole claims, in the order of acceptance; see store.Engine. As long as it
// runs it takes one of the connections, and keeps what changes meanwhile from being vacuumed.
func (s *Store) Records(ctx context.Context, filter store.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		view, err := s.schema.Pages(ctx)
		if err == nil {
			err = (&snapshot{view}).eachRecord(ctx, &filter, func(record store.Record) bool { return yield(record, nil) })
			_ = view.Close() // it only read; what went wrong is in err
		}
		if err != nil {
			yield(store.Record{}, fmt.Errorf("read whole claims: %w", translate(err)))
		}
	}
}

// eachRecord turns the pages of a filter until yield has enough.
func (v *snapshot) eachRecord(ctx context.Context, filter *store.Filter, yield func(store.Record) bool) error {
	way := store.Walk{Columns: store.RecordColumns, Up: true, Limit: store.MaxPage}
	for {
		page, err := v.page(ctx, filter, way)
		if err != nil {
			return err
		}
		goOn, err := v.eachOf(ctx, page, yield)
		if err != nil || !goOn || len(page) < way.Limit {
			return err
		}
		way.Behind = page[len(page)-1].Cursor
	}
}

// page reads claims without their lines.
func (v *snapshot) page(ctx context.Context, filter *store.Filter, way store.Walk) ([]store.Record, error) {
	query, values, err := dialect().Query(filter, way)
	if err != nil {
		return nil, err
	}
	rows, err := v.view.Query(ctx, query, values...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page := make([]store.Record, 0, way.Limit)
	for rows.Next() {
		record, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, record)
	}
	return page, rows.Err()
}

// pageLinesQuery gives the lines of a page of claims, those of a claim together, the claims
// in the order of the page.
const pageLinesQuery = "SELECT " + store.LineColumns + `, c.place
	FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) WITH ORDINALITY AS c(first, last, received_at, place)
	CROSS JOIN LATERAL (SELECT * FROM lines WHERE id BETWEEN c.first AND c.last AND received_at = c.received_at ORDER BY id) AS l
	ORDER BY c.place, l.id`

// eachOf gives the claims of a page with their lines, and tells whether yield wants more.
func (v *snapshot) eachOf(ctx context.Context, page []store.Record, yield func(store.Record) bool) (goOn bool, err error) {
	if len(page) == 0 {
		return true, nil
	}
	first, last, received := make([]int64, len(page)), make([]int64, len(page)), make([]time.Time, len(page))
	for i := range page {
		first[i], last[i], received[i] = page[i].FirstLineID, page[i].FirstLineID+int64(page[i].LineCount)-1, page[i].ReceivedAt
	}
	rows, err := v.view.Query(ctx, pageLinesQuery, first, last, received)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	at := 0
	for rows.Next() {
		var place int
		line, err := scanLine(rows, &place)
		if err != nil {
			return false, err
		}
		for ; at < place-1; at++ {
			if !yield(taken(&page[at])) {
				return false, nil
			}
		}
		page[at].Lines = append(page[at].Lines, line)
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	for ; at < len(page); at++ {
		if !yield(taken(&page[at])) {
			return false, nil
		}
	}
	return true, nil
}

// taken gives the record, and keeps its lines no longer.
func taken(record *store.Record) store.Record {
	whole := *record
	record.Lines = nil
	return whole
}
