package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/payment"
)

func newRedriveCommand(p *program) *cobra.Command {
	return newDecisionCommand(p, redrive, &cobra.Command{
		Short: "Send claims to payments again",
		Long: `Send the claims of dead letters to payments again. It is harmless if a claim was paid
meanwhile. Without --server the claims are sent when 'claimrail serve' runs next.`,
		Example: `  claimrail dead-letters redrive 7 8 --reason 'provider was unknown, added'
  claimrail dead-letters redrive --npi 1497775530 --dry-run
  claimrail dead-letters redrive --all --older-than 1h --rate 10 --reason 'disk replaced'`,
	}, letterBox.Redrive)
}

func newDiscardCommand(p *program) *cobra.Command {
	return newDecisionCommand(p, "discard", &cobra.Command{
		Short: "Write claims off",
		Long: `Write the claims of dead letters off: they will never be paid, whatever copies of their
messages still come.`,
		Example: `  claimrail dead-letters discard 7 --reason 'test claim' --actor 'night shift'
  claimrail dead-letters discard --parked-for malformed --to 2026-03-28 --reason 'noise of the test'`,
	}, letterBox.Discard)
}

// newDecisionCommand completes a command that decides on dead letters.
func newDecisionCommand(p *program, verb string, cmd *cobra.Command,
	carryOut func(letterBox, context.Context, int64, api.Decision) (api.DeadLetter, error),
) *cobra.Command {
	d := decisionFlags{verb: verb, letterFlags: letterFlags{state: string(payment.LetterOpen)}}
	cmd.Use = verb + " [ID...]"
	cmd.Long += `

Without ids it is done with the open dead letters that the filters select, or with --all of
them, one after the other, as fast as --rate says. --dry-run shows them and does nothing; those of claims that are paid are
told when it is done.`
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := d.filter(time.Now())
		if err == nil {
			err = d.check(len(args) > 0, filter)
		}
		if err != nil {
			return err
		}
		said, err := d.said(p)
		if err != nil {
			return err
		}
		var ids []int64
		if len(args) > 0 {
			if ids, err = parseLetterIDs(args); err != nil {
				return err
			}
		}
		return p.withSystem("dead-letters "+verb, func(s system) error {
			if len(args) == 0 {
				return p.decideMany(cmd.Context(), s, &d, filter, func(id int64) (api.DeadLetter, error) {
					return carryOut(s, cmd.Context(), id, said)
				})
			}
			return p.decide(cmd.Context(), ids, func(ctx context.Context, id int64) (api.DeadLetter, error) {
				if !d.dryRun {
					return carryOut(s, ctx, id, said)
				}
				found, err := s.DeadLetter(ctx, id)
				if err == nil {
					err = d.look(&found.DeadLetter)
				}
				return found.DeadLetter, err
			})
		})
	}
	d.bind(cmd)
	return cmd
}

// redrive is the verb of the decision to send claims again.
const redrive = "redrive"

// Limits of decisions on many dead letters.
const (
	maxDecisions   = 1000 // by id; by filter where --limit does not say
	maxManyLetters = 100_000
	defaultRate    = 50 // in a second
	maxRatePerSec  = 1000
)

// decisionFlags are the flags of a decision as they are given.
type decisionFlags struct {
	verb string
	letterFlags
	why, actor  string
	all, dryRun bool
	rate, limit int
}

func (d *decisionFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.why, "reason", "", "`WHY`, in 1 to 500 bytes; required, and kept with the dead letter")
	cmd.Flags().StringVar(&d.actor, "actor", "", "`WHO` decides (default: the user's name)")
	cmd.Flags().BoolVar(&d.all, "all", false, "all open dead letters, or all that the filters select")
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "show the dead letters, and do nothing")
	cmd.Flags().IntVar(&d.rate, "rate", defaultRate, "decide on `N` in a second at most, 1 to 1000; of those that a filter selects")
	cmd.Flags().IntVar(&d.limit, "limit", maxDecisions, "decide on `N` at most, 1 to 100000; of those that a filter selects")
	d.letterFlags.bind(cmd)
}

// check holds the flags against each other.
func (d *decisionFlags) check(byID bool, filter payment.LetterFilter) error {
	selects := d.all || filter != payment.LetterFilter{State: payment.LetterOpen}
	switch {
	case byID && selects:
		return misuse(errors.New("ids and filters exclude each other"), "give ids, or filters")
	case !byID && !selects:
		return misuse(errors.New("give the id of at least one dead letter, or a filter, or --all"),
			"'claimrail dead-letters list' shows them")
	case d.rate < 1 || d.rate > maxRatePerSec:
		return misuse(fmt.Errorf("--rate is %d", d.rate), fmt.Sprintf("give a number from 1 to %d", maxRatePerSec))
	case d.limit < 1 || d.limit > maxManyLetters:
		return misuse(fmt.Errorf("--limit is %d", d.limit), fmt.Sprintf("give a number from 1 to %d", maxManyLetters))
	default:
		return nil
	}
}

// said gives the decision; a dry run needs no reason.
func (d *decisionFlags) said(p *program) (api.Decision, error) {
	said := api.Decision{Reason: strings.TrimSpace(d.why), Actor: strings.TrimSpace(d.actor)}
	if len(said.Actor) > payment.MaxActor {
		return said, misuse(errors.New("--actor is too long"), fmt.Sprintf("say who in %d bytes at most", payment.MaxActor))
	}
	if said.Reason == "" && !d.dryRun || len(said.Reason) > payment.MaxNote {
		return said, misuse(errors.New("say why"), fmt.Sprintf("add --reason 'why', of 1 to %d bytes; it is kept with the dead letter", payment.MaxNote))
	}
	if said.Actor == "" {
		said.Actor = p.user()
	}
	return said, nil
}

// decideMany decides on the dead letters that a filter selects, page by page, and shows those on which it
// could; those alone count for the limit, or the others would be in the way of all behind them. Each decision is one for all open letters of a claim, so that some are closed when their turn comes.
func (p *program) decideMany(ctx context.Context, s system, d *decisionFlags, filter payment.LetterFilter,
	carryOut func(int64) (api.DeadLetter, error),
) error {
	gap := time.Second / time.Duration(d.rate)
	pace := time.NewTicker(gap)
	defer pace.Stop()
	done, left := 0, map[error]int{} // which could not be decided on, by why
	more := false
	for room := d.limit; room > 0; {
		filter.Limit = min(room, payment.MaxPage)
		page, err := s.DeadLetters(ctx, filter)
		if err != nil {
			return err
		}
		decided := api.DeadLetterPage{DeadLetters: []api.DeadLetter{}}
		for _, letter := range page.DeadLetters {
			if d.dryRun {
				err = d.look(&letter)
			} else if err = wait(ctx, pace, gap); err == nil {
				letter, err = carryOut(letter.ID)
			}
			switch {
			case err == nil:
				decided.DeadLetters = append(decided.DeadLetters, letter)
			case errors.Is(err, payment.ErrClosed):
				left[payment.ErrClosed]++
			case errors.Is(err, payment.ErrNoClaim):
				left[payment.ErrNoClaim]++
			case errors.Is(err, payment.ErrPaid):
				left[payment.ErrPaid]++
			default:
				return errors.Join(p.showDecided(&decided), fmt.Errorf("%d done, then: %w", done+len(decided.DeadLetters), err))
			}
		}
		if err := p.showDecided(&decided); err != nil {
			return err
		}
		done, room = done+len(decided.DeadLetters), room-len(decided.DeadLetters)
		if more = page.NextCursor != ""; !more {
			break
		}
		if filter.Before, err = nextPage(page.NextCursor, filter.Before); err != nil {
			return err
		}
	}
	if err := p.summarize(d, done, left); err != nil || !more {
		return err
	}
	advice := "give the command again, or a larger --limit"
	if d.dryRun {
		advice = "a larger --limit shows them"
	}
	_, err := fmt.Fprintf(p.stderr, "there are more: these were the %d of --limit; %s\n", d.limit, advice)
	return err
}

// look tells what can be seen without a decision of why it could not be made.
func (d *decisionFlags) look(letter *api.DeadLetter) error {
	switch {
	case letter.State != payment.LetterOpen:
		return payment.ErrClosed
	case d.verb == redrive && letter.ClaimID == "":
		return payment.ErrNoClaim
	default:
		return nil
	}
}

// wait waits for the next turn. The one behind it comes no sooner than a gap after it, also where a
// decision took longer than that and a turn has waited for it.
func wait(ctx context.Context, pace *time.Ticker, gap time.Duration) error {
	select {
	case <-pace.C:
		pace.Reset(gap)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *program) summarize(d *decisionFlags, done int, left map[error]int) error {
	what := fmt.Sprintf("%s: %d done", d.verb, done)
	if d.dryRun {
		what = fmt.Sprintf("dry run: %d would be tried, nothing was done", done)
	}
	if n := left[payment.ErrClosed]; n > 0 {
		what += fmt.Sprintf(", %d closed meanwhile or with another of their claim", n)
	}
	if n := left[payment.ErrNoClaim]; n > 0 {
		what += fmt.Sprintf(", %d name no claim and can only be discarded", n)
	}
	if n := left[payment.ErrPaid]; n > 0 {
		what += fmt.Sprintf(", %d are of paid claims and can only be discarded", n)
	}
	_, err := fmt.Fprintln(p.stderr, what)
	return err
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
				return payment.Note(value[:min(len(value), payment.MaxActor)])
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
			errs = append(errs, noLetter(id))
		case errors.Is(err, payment.ErrClosed):
			errs = append(errs, hint(fmt.Errorf("dead letter %d was redriven, discarded or paid already", id),
				"'claimrail dead-letters list --state all' shows who did it"))
		case errors.Is(err, payment.ErrNoClaim):
			errs = append(errs, hint(fmt.Errorf("dead letter %d names no claim, so it can not be sent again", id),
				"discard it with 'claimrail dead-letters discard %d --reason ...'", id))
		case errors.Is(err, payment.ErrPaid):
			errs = append(errs, hint(fmt.Errorf("the claim of dead letter %d is paid, so it can not be sent again", id),
				"discard it with 'claimrail dead-letters discard %d --reason ...': the payment stays", id))
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
