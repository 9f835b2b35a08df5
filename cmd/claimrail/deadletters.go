package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
)

func newDeadLettersCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List messages that payments could not process, and decide on them",
		Long: `List messages that payments could not process, and decide on them: redrive sends the
claim to payments again, discard writes it off. Either is kept with who and why.`,
		Example: `  claimrail dead-letters list
  claimrail dead-letters show 7
  claimrail dead-letters redrive 7 --reason 'provider was unknown, added'
  claimrail dead-letters redrive --all --npi 1497775530 --dry-run`,
		Args: noSuchCommand,
		RunE: showHelp,
	}
	cmd.AddCommand(newDeadLettersListCommand(p), newDeadLettersShowCommand(p), newRedriveCommand(p), newDiscardCommand(p))
	return cmd
}

// allStates stands for dead letters of all states.
const allStates = "all"

// parkedFor is the flag for why a dead letter was parked; --reason is why somebody decides.
const parkedFor = "parked-for"

// letterFlags are the flags that select dead letters, as they are given.
type letterFlags struct {
	state, reason, npi, from, to string
	olderThan                    time.Duration
}

// bind adds the flags but for the state.
func (f *letterFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, parkedFor, "", "only those parked for this `REASON`: malformed, conflict or failed")
	cmd.Flags().StringVar(&f.npi, "npi", "", "only those whose message names the provider with this `NPI`")
	cmd.Flags().StringVar(&f.from, "from", "", "only those parked at this `TIME` or later (2026-03-28, or RFC 3339)")
	cmd.Flags().StringVar(&f.to, "to", "", "only those parked before this `TIME`")
	cmd.Flags().DurationVar(&f.olderThan, "older-than", 0, "only those parked longer ago than this `AGE`, such as 36h")
	mustComplete(cmd, parkedFor, "malformed", "conflict", "failed")
}

func (f *letterFlags) bindState(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&f.state, "state", otherwise, "only dead letters in this `STATE`: open, redriven, discarded, paid, or all")
	mustComplete(cmd, "state", "open", "redriven", "discarded", "paid", allStates)
}

// filter reads the flags.
func (f *letterFlags) filter(now time.Time) (filter payment.LetterFilter, err error) {
	filter = payment.LetterFilter{State: payment.LetterState(f.state), Reason: payment.Reason(f.reason)}
	switch filter.State {
	case payment.LetterOpen, payment.LetterRedriven, payment.LetterDiscarded, payment.LetterPaid:
	case allStates:
		filter.State = ""
	default:
		return filter, misuse(fmt.Errorf("--state %q is no state", f.state), "use open, redriven, discarded, paid or all")
	}
	switch filter.Reason {
	case "", payment.ReasonMalformed, payment.ReasonConflict, payment.ReasonFailed:
	default:
		return filter, misuse(fmt.Errorf("%q is no reason for a dead letter", f.reason), "use malformed, conflict or failed")
	}
	if filter.ProviderNPI, err = parseNPIText(f.npi); err != nil {
		return filter, err
	}
	if filter.From, err = parseMoment("--from", f.from); err != nil {
		return filter, err
	}
	if filter.To, err = parseMoment("--to", f.to); err != nil {
		return filter, err
	}
	if f.olderThan < 0 || f.olderThan > 0 && f.to != "" {
		return filter, misuse(errors.New("--older-than is below 0, or stands beside --to"), "give one of them, as --older-than 36h")
	}
	if f.olderThan > 0 {
		filter.To = now.Add(-f.olderThan).UTC()
	}
	return filter, nil
}

func newDeadLettersListCommand(p *program) *cobra.Command {
	var f letterFlags
	var pages paging
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the newest first",
		Long: `List dead letters, the newest first: the open ones, which wait for a decision, unless
--state says otherwise. Amounts are US dollars, times are UTC.`,
		Example: `  claimrail dead-letters list
  claimrail dead-letters list --npi 1497775530 --older-than 36h
  claimrail dead-letters list --state discarded --parked-for conflict --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err == nil {
				filter.Limit = pages.limit
				filter.Before, err = pages.check()
			}
			if err != nil {
				return err
			}
			return p.withSystem("dead-letters list", func(s system) error {
				return p.listLetters(cmd.Context(), s, filter, pages.all)
			})
		},
	}
	f.bind(cmd)
	f.bindState(cmd, string(payment.LetterOpen))
	pages.bind(cmd)
	return cmd
}

func newDeadLettersShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter, and who did what with it",
		Long: `Show a dead letter: why its message could not be processed, after how many attempts, and
who did what with it and with the others of its claim, when and why. That history is added
to and never changed. Amounts are US dollars, times are UTC.`,
		Example: "  claimrail dead-letters show 7",
		Args:    exactly("id of the dead letter"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseLetterIDs(args)
			if err != nil {
				return err
			}
			return p.withSystem("dead-letters show", func(s system) error {
				found, err := s.DeadLetter(cmd.Context(), ids[0])
				switch {
				case errors.Is(err, payment.ErrNotFound):
					return noLetter(ids[0])
				case err != nil:
					return err
				case p.json:
					return writeJSON(p.stdout, found)
				default:
					return writeLetter(p.stdout, &found)
				}
			})
		},
	}
}

func noLetter(id int64) error {
	return hint(fmt.Errorf("there is no dead letter %d", id), "'claimrail dead-letters list --state all' shows those there are")
}

func writeLetter(w io.Writer, letter *api.DeadLetterHistory) error {
	facts := table{columns: []column{{"dead letter", false}, {strconv.FormatInt(letter.ID, 10), false}}}
	fact := func(name, value string) {
		if value != "" {
			facts.add(name, value)
		}
	}
	fact("message", letter.MessageID)
	fact("claim id", letter.ClaimID)
	fact("net fee", letter.NetFee)
	fact("providers", strings.Join(letter.Providers, " "))
	fact("state", string(letter.State))
	fact("reason", string(letter.Reason))
	fact("error", inLine(letter.Error))
	fact("attempts", strconv.Itoa(letter.Attempts))
	fact("parked", moment(letter.ParkedAt))
	if err := facts.writeTo(w); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	t := table{columns: []column{{"time", false}, {"letter", true}, {"action", false}, {"who", false}, {"why", false}}}
	for _, entry := range letter.History {
		t.add(moment(entry.At), strconv.FormatInt(entry.DeadLetterID, 10), string(entry.Action), inLine(entry.Actor), inLine(entry.Reason))
	}
	return t.writeTo(w)
}

// inLine gives a text without its line ends.
func inLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// listLetters writes one page, or all.
func (p *program) listLetters(ctx context.Context, s system, filter payment.LetterFilter, all bool) error {
	for {
		page, err := s.DeadLetters(ctx, filter)
		if err != nil {
			return err
		}
		if p.json {
			err = writeJSON(p.stdout, page)
		} else {
			err = writeLetters(p.stdout, page.DeadLetters)
		}
		if err != nil || page.NextCursor == "" {
			return err
		}
		if !all {
			return p.moreAt(page.NextCursor)
		}
		if filter.Before, err = nextPage(page.NextCursor, filter.Before); err != nil {
			return err
		}
	}
}

func writeLetters(w io.Writer, found []api.DeadLetter) error {
	t := table{columns: []column{
		{"id", true}, {"claim id", false}, {"net fee", true}, {"state", false}, {"reason", false}, {"attempts", true}, {"parked", false}, {"error", false},
	}}
	for i := range found {
		d := &found[i]
		t.add(strconv.FormatInt(d.ID, 10), orDash(d.ClaimID), d.NetFee, string(d.State), string(d.Reason), strconv.Itoa(d.Attempts),
			moment(d.ParkedAt), inLine(d.Error))
	}
	return t.writeTo(w)
}
