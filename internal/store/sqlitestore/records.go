package sqlitestore

import (
	"context"
	"fmt"
	"iter"

	"github.com/claimrail/claimrail/internal/store"
)

// Records gives whole claims, in the order of acceptance; see store.Engine. As long as it
// runs it takes one of the readers, and keeps the log from being cut.
func (s *Store) Records(ctx context.Context, filter store.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		view, err := s.view(ctx)
		if err == nil {
			err = view.eachRecord(ctx, &filter, func(record store.Record) bool { return yield(record, nil) })
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
		for _, record := range page {
			if record.Lines, err = lines(ctx, v.tx, &record); err != nil {
				return fmt.Errorf("claim %s: %w", record.ClaimID, err)
			}
			if !yield(record) {
				return nil
			}
		}
		if len(page) < way.Limit {
			return nil
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
	rows, err := v.tx.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
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
