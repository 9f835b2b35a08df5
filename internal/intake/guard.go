package intake

import "strings"

// formulaStarts are the characters that have a spreadsheet take a cell for a formula, or let it
// slip into the next cell.
const formulaStarts = "=+-@\t\r"

// Guard gives a text for a cell that a spreadsheet is to show and not to run: one apostrophe
// goes in front of what looks like a formula, and of what looks like a guarded one, so
// that Unguard gives every text back as it was.
func Guard(text string) string {
	if !looksGuarded(text) {
		return text
	}
	return "'" + text
}

// Unguard takes off what Guard put in front. It is for the cells of files that are known to
// be guarded: anywhere else the apostrophe is the sender's own.
func Unguard(text string) string {
	if !strings.HasPrefix(text, "'") || !looksGuarded(text) {
		return text
	}
	return text[1:]
}

// looksGuarded tells whether a text is a formula behind any number of apostrophes, none included.
func looksGuarded(text string) bool {
	rest := strings.TrimLeft(text, "'")
	return rest != "" && strings.IndexByte(formulaStarts, rest[0]) >= 0
}
