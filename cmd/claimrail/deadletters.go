package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
)

// maxDecisions bounds the dead letters of one command.
const maxDecisions = 1000

func newDeadLettersCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List messages that payments could not process, and decide on them",
		Long: `List messages that payments could not process, and decide on them: redrive sends the
claim to payments again, discard writes it off. Either is kept with who and why.`,
		Example: "  claimrail dead-letters list\n  claimrail dead-letters redrive 7 --reason 'provider was unknown, added'",
		Args:    noSuchCommand,
		RunE:    showHelp,
	}
	cmd.AddCommand(newDeadLettersListCommand(p), newRedriveCommand(p), newDiscardCommand(p))
	return cmd
}

func newDeadLettersListCommand(p *program) *cobra.Command {
	var state, reason string
	var f paging
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the newest first",
		Long: `List dead letters, the newest first: the open ones, which wait for a decision, unless
--state says otherwise. Amounts are US dollars, times are UTC.`,
		Example: "  claimrail dead-letters list\n  claimrail dead-letters list --state discarded --reason conflict --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := payment.LetterFilter{State: payment.LetterState(state), Reason: payment.Reason(reason), Limit: f.limit}
			switch filter.State {
			case payment.LetterOpen, payment.LetterRedriven, payment.LetterDiscarded, payment.LetterPaid:
			case "all":
				filter.State = ""
			default:
				return misuse(fmt.Errorf("--state %q is no state", state), "use open, redriven, discarded, paid or all")
			}
			switch filter.Reason {
			case "", payment.ReasonMalformed, payment.ReasonConflict, payment.ReasonFailed:
			default:
				return misuse(fmt.Errorf("--reason %q is no reason", reason), "use malformed, conflict or failed")
			}
			before, err := f.check()
			if err != nil {
				return err
			}
			filter.Before = before
			return p.withSystem("dead-letters list", func(s system) error {
				return p.listLetters(cmd.Context(), s, filter, f.all)
			})
		},
	}
	cmd.Flags().StringVar(&state, "state", string(payment.LetterOpen), "only dead letters in this `STATE`: open, redriven, discarded, paid, or all")
	cmd.Flags().StringVar(&reason, "reason", "", "only those parked for this `REASON`: malformed, conflict or failed")
	f.bind(cmd)
	mustComplete(cmd, "state", "open", "redriven", "discarded", "paid", "all")
	mustComplete(cmd, "reason", "malformed", "conflict", "failed")
	return cmd
}

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
			moment(d.ParkedAt), strings.Join(strings.Fields(d.Error), " "))
	}
	return t.writeTo(w)
}

func newRedriveCommand(p *program) *cobra.Command {
	return newDecisionCommand(p, "redrive", &cobra.Command{
		Short: "Send claims to payments again",
		Long: `Send the claims of dead letters to payments again. It is harmless if a claim was paid
meanwhile. Without --server the claims are sent when 'claimrail serve' runs next.`,
		Example: "  claimrail dead-letters redrive 7 8 --reason 'provider was unknown, added'",
	}, letterBox.Redrive)
}

func newDiscardCommand(p *program) *cobra.Command {
	return newDecisionCommand(p, "discard", &cobra.Command{
		Short: "Write claims off",
		Long: `Write the claims of dead letters off: they will never be paid, whatever copies of their
messages still come.`,
		Example: "  claimrail dead-letters discard 7 --reason 'test claim' --actor 'night shift'",
	}, letterBox.Discard)
}

// newDecisionCommand completes a command that decides on dead letters.
func newDecisionCommand(p *program, verb string, cmd *cobra.Command,
	carryOut func(letterBox, context.Context, int64, api.Decision) (api.DeadLetter, error),
) *cobra.Command {
	var decision api.Decision
	cmd.Use = verb + " ID..."
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ids, err := parseLetterIDs(args)
		if err != nil {
			return err
		}
		said := api.Decision{Reason: strings.TrimSpace(decision.Reason), Actor: strings.TrimSpace(decision.Actor)}
		if said.Reason == "" || len(said.Reason) > payment.MaxNote || len(said.Actor) > payment.MaxNote {
			return misuse(errors.New("say why"), fmt.Sprintf("add --reason 'why', of 1 to %d bytes; it is kept with the dead letter", payment.MaxNote))
		}
		if said.Actor == "" {
			said.Actor = p.user()
		}
		return p.withSystem("dead-letters "+verb, func(s system) error {
			return p.decide(cmd.Context(), ids, func(ctx context.Context, id int64) (api.DeadLetter, error) {
				return carryOut(s, ctx, id, said)
			})
		})
	}
	cmd.Flags().StringVar(&decision.Reason, "reason", "", "`WHY`, in 1 to 500 bytes; required, and kept with the dead letter")
	cmd.Flags().StringVar(&decision.Actor, "actor", "", "`WHO` decides (default: the user's name)")
	return cmd
}

func parseLetterIDs(args []string) ([]int64, error) {
	if len(args) < 1 || len(args) > maxDecisions {
		return nil, misuse(errors.New("give the id of at least one dead letter"),
			fmt.Sprintf("'claimrail dead-letters list' shows them; %d at once", maxDecisions))
	}
	ids := make([]int64, len(args))
	for i, text := range args {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id < 1 {
			return nil, misuse(fmt.Errorf("%q is no id of a dead letter", text), "it is a whole number; 'claimrail dead-letters list' shows them")
		}
		ids[i] = id
	}
	return ids, nil
}

// user names who runs the program.
func (p *program) user() string {
	for _, name := range []string{"USER", "LOGNAME", "USERNAME"} {
		for _, pair := range p.environ {
			if value, ok := strings.CutPrefix(pair, name+"="); ok && value != "" {
				return payment.Note(value)
			}
		}
	}
	return "command line"
}

// decide carries out a decision on each dead letter, and shows those on which it could.
func (p *program) decide(ctx context.Context, ids []int64, carryOut func(context.Context, int64) (api.DeadLetter, error)) error {
	page := api.DeadLetterPage{DeadLetters: []api.DeadLetter{}}
	var errs []error
	for _, id := range ids {
		letter, err := carryOut(ctx, id)
		switch {
		case err == nil:
			page.DeadLetters = append(page.DeadLetters, letter)
		case errors.Is(err, payment.ErrNotFound):
			errs = append(errs, hint(fmt.Errorf("there is no dead letter %d", id), "'claimrail dead-letters list' shows those that wait"))
		case errors.Is(err, payment.ErrClosed):
			errs = append(errs, hint(fmt.Errorf("dead letter %d was redriven, discarded or paid already", id),
				"'claimrail dead-letters list --state all' shows who did it"))
		case errors.Is(err, payment.ErrNoClaim):
			errs = append(errs, hint(fmt.Errorf("dead letter %d names no claim, so it can not be sent again", id),
				"discard it with 'claimrail dead-letters discard %d --reason ...'", id))
		default:
			// What is wrong with the database or the server is so for those that follow.
			return errors.Join(append(errs, p.showDecided(&page), err)...)
		}
	}
	return errors.Join(append(errs, p.showDecided(&page))...)
}

func (p *program) showDecided(page *api.DeadLetterPage) error {
	switch {
	case p.json:
		return writeJSON(p.stdout, page)
	case len(page.DeadLetters) == 0:
		return nil
	default:
		return writeLetters(p.stdout, page.DeadLetters)
	}
}
