package payment

import (
	"context"
	"iter"
)

// AllPayments gives every payment that a filter selects, page by page, the newest first; list is
// Ledger.Payments, or the same of a RemoteDesk. filter.Limit does not count. An error comes
// once, and last.
func AllPayments(ctx context.Context, list func(context.Context, PaymentFilter) ([]Payment, error), filter PaymentFilter) iter.Seq2[Payment, error] {
	filter.Limit = MaxPage
	return all(func(before int64) ([]Payment, error) {
		filter.Before = before
		return list(ctx, filter)
	}, filter.Before, func(paid *Payment) int64 { return paid.Cursor })
}

// AllLetters gives every dead letter that a filter selects, page by page, the newest first, each
// as it stands when its page is read; list is Ledger.DeadLetters, or the same of a RemoteDesk.
// filter.Limit does not count. An error comes once, and last.
func AllLetters(ctx context.Context, list func(context.Context, LetterFilter) ([]DeadLetter, error), filter LetterFilter) iter.Seq2[DeadLetter, error] {
	filter.Limit = MaxPage
	return all(func(before int64) ([]DeadLetter, error) {
		filter.Before = before
		return list(ctx, filter)
	}, filter.Before, func(letter *DeadLetter) int64 { return letter.ID })
}

// all turns pages until there is an empty one: one that is short may not be the last.
func all[T any](page func(before int64) ([]T, error), before int64, cursor func(*T) int64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for before := before; ; {
			things, err := page(before)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, thing := range things {
				if !yield(thing, nil) {
					return
				}
			}
			if len(things) == 0 {
				return
			}
			before = cursor(&things[len(things)-1])
		}
	}
}
