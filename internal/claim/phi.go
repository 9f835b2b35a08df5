package claim

import (
	"fmt"
	"log/slog"
	"time"
)

// redacted is how every PHI type prints, whatever the verb.
const redacted = "[phi]"

// SubscriberNumber is the member's number with the plan. It is PHI: fmt, slog
// and JSON all show [phi]; Reveal is the one way to the text.
type SubscriberNumber struct{ text string }

// NewSubscriberNumber takes any text; Validator decides what is acceptable.
func NewSubscriberNumber(text string) SubscriberNumber { return SubscriberNumber{text} }

// Reveal gives the number itself, for the database and for its sender.
func (s SubscriberNumber) Reveal() string { return s.text }

// Format prints [phi] for every verb.
func (SubscriberNumber) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue shows [phi].
func (SubscriberNumber) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes [phi], so that no encoder leaks the number by accident.
func (SubscriberNumber) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ServiceDate is when the work was done, to the second, without a zone. It is
// PHI: fmt, slog and JSON all show [phi]; Reveal is the one way to the text.
type ServiceDate struct{ seconds int64 } // since 1970-01-01 00:00:00 on the sender's wall clock

// ServiceDateFromUnix takes seconds since 1970-01-01 00:00:00 on the sender's
// wall clock, as stored.
func ServiceDateFromUnix(seconds int64) ServiceDate { return ServiceDate{seconds} }

// Unix gives the seconds that ServiceDateFromUnix takes.
func (d ServiceDate) Unix() int64 { return d.seconds }

// Reveal gives the date and time in ISO 8601: "2018-03-28T00:00:00".
func (d ServiceDate) Reveal() string { return string(d.AppendRevealed(nil)) }

// AppendRevealed adds the text of Reveal to dst.
func (d ServiceDate) AppendRevealed(dst []byte) []byte {
	dst = time.Unix(d.seconds, 0).UTC().AppendFormat(dst, time.RFC3339)
	return dst[:len(dst)-len("Z")] // there is no zone
}

// Format prints [phi] for every verb.
func (ServiceDate) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue shows [phi].
func (ServiceDate) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes [phi], so that no encoder leaks the date by accident.
func (ServiceDate) MarshalText() ([]byte, error) { return []byte(redacted), nil }
