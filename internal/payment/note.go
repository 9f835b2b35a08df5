package payment

import (
	"strings"
	"unicode/utf8"
)

// Note gives text as a ledger keeps it: valid UTF-8 without NUL, which not every
// database takes, and MaxNote bytes at most.
func Note(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	if len(text) <= MaxNote {
		return text
	}
	end := MaxNote
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
