package broker

import (
	"testing"
	"time"
)

// A consumer is only made anew when the stream has, for a second, not come to where the consumer was
// when it was first seen ahead: not for two states read apart, and not twice for one loss.
func TestAheadSee(t *testing.T) {
	t.Parallel()
	type look struct {
		delivered, last uint64
		after           time.Duration // since the look before
		want            bool
	}
	for name, looks := range map[string][]look{
		"level":                    {{5, 5, 0, false}, {5, 5, time.Hour, false}},
		"behind":                   {{4, 5, 0, false}, {4, 5, time.Hour, false}},
		"level before":             {{9, 9, 0, false}, {9, 5, time.Hour, false}},
		"too short":                {{9, 5, 0, false}, {9, 5, aheadFor - 1, false}},
		"long enough":              {{9, 5, 0, false}, {9, 5, aheadFor, true}},
		"grows, and does not come": {{9, 5, 0, false}, {9, 8, aheadFor, true}},
		"level in between":         {{9, 5, 0, false}, {9, 9, aheadFor, false}, {12, 10, 1, false}, {12, 10, aheadFor - 1, false}},
		"read apart, under load":   {{9, 8, 0, false}, {29, 28, aheadFor, false}, {49, 48, aheadFor, false}},
		"once for one loss":        {{9, 5, 0, false}, {9, 5, aheadFor, true}, {9, 5, 1, false}, {9, 5, aheadFor, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a Ahead
			now := time.Unix(0, 0)
			for i, look := range looks {
				now = now.Add(look.after)
				if got := a.See(look.delivered, look.last, now); got != look.want {
					t.Errorf("look %d, consumer at %d, stream at %d: got %t, want %t", i, look.delivered, look.last, got, look.want)
				}
			}
		})
	}
}
