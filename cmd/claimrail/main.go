// Command claimrail is the whole line in one program: it serves claims and
// payments, imports files, and shows and mends what is in between. It is the only
// package that knows all stations: one file for each subcommand, which opens what it
// needs in the order of the line and closes it in reverse.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // it was tried, and did not work
	exitMisuse = 2 // it was not tried: unknown command or flag, bad argument, bad configuration
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program as it stands
	// With SIGPIPE out of the way, a reader that has seen enough is an error of Write.
	signal.Ignore(syscall.SIGPIPE)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}

// run is the program without the process around it. Results go to stdout, everything
// else to stderr; environ holds "NAME=value" like os.Environ. When ctx ends, what
// runs is stopped in order.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	root := p.newRootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return exitDone
	case !p.started:
		err = misuse(err, "")
	}
	return report(stderr, err)
}

// report prints an error, and the hint that it may have, and gives the exit code.
func report(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "claimrail: %v\n", err)
	hinted, ok := errors.AsType[*hintedError](err)
	if !ok {
		return exitFailed
	}
	if hinted.hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hinted.hint)
	}
	if hinted.misuse {
		return exitMisuse
	}
	return exitFailed
}

// hintedError is an error with what its reader can do about it.
type hintedError struct {
	err    error
	hint   string // a command or a thing to try; may be empty
	misuse bool   // nothing was tried
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// hint adds a hint to an error. An error that has one keeps it.
func hint(err error, format string, arguments ...any) error {
	if _, hinted := errors.AsType[*hintedError](err); hinted {
		return err
	}
	return &hintedError{err: err, hint: fmt.Sprintf(format, arguments...)}
}

// misuse marks an error as the caller's: the exit code is exitMisuse. An error that is
// hinted keeps its hint.
func misuse(err error, advice string) error {
	if hinted, ok := errors.AsType[*hintedError](err); ok && hinted.hint != "" {
		advice = hinted.hint
	}
	return &hintedError{err: err, hint: advice, misuse: true}
}

// program is one run of the command line.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	started  bool                // the command line was understood
	settings map[string]*setting // the flags that configure, by the name of their variable
	server   string              // --server
	json     bool                // --json
}

func (p *program) newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "claimrail",
		Short: "Dental claims in, payments out, nothing lost in between",
		Long: `Dental claims in, payments out, nothing lost in between.

Commands work on the databases where they are (--data-dir), or over HTTP
(--server) on those of a running server. Results go to standard output, tables for
people or, with --json, JSON for programs; everything else goes to standard error.
Amounts are US dollars, times are UTC.

Settings come from flags, else from the environment (CLAIMRAIL_...), else from
the file .env in the working directory, else they have their defaults.

Exit codes: 0 done; 1 failed; 2 misuse: unknown command or flag, bad argument,
bad configuration.`,
		Example: `  claimrail serve
  claimrail import claim_1234.csv
  claimrail top --limit 10
  claimrail claims list --status dead_lettered --json`,
		Args:              noSuchCommand,
		RunE:              showHelp,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: p.start,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(explainFlagError)
	flags := root.PersistentFlags()
	p.bindShared(flags)
	flags.StringVar(&p.server, "server", "", "work over HTTP on the server at this `URL` instead of on the data directory")
	flags.BoolVar(&p.json, "json", false, "write JSON, for programs")
	root.AddCommand(
		newServeCommand(p),
		newMigrateCommand(p),
		newHealthyCommand(p),
		newImportCommand(p),
		newGenerateCommand(p),
		newExportCommand(p),
		newTopCommand(p),
		newClaimsCommand(p),
		newDeadLettersCommand(p),
		newVerifyCommand(p),
		newVersionCommand(p),
	)
	strictCompletion(root)
	return root
}

// strictCompletion makes the completion command, and has it refuse shells that it does not
// know; by itself it would show its help, which a shell would then try to run.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noSuchCommand, showHelp
		}
	}
}

// start runs once the command line is understood, before the command does anything.
func (p *program) start(*cobra.Command, []string) error {
	p.started = true
	return nil
}

// showHelp is what a command does that only groups others.
func showHelp(cmd *cobra.Command, _ []string) error {
	return cmd.Help()
}

// noSuchCommand refuses arguments of a command that only groups others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return hint(err, "did you mean '%s %s'?", cmd.CommandPath(), strings.Join(near, "' or '"+cmd.CommandPath()+" "))
	}
	return hint(err, "'%s --help' lists the commands", cmd.CommandPath())
}

// exactly takes as many arguments as it has names: what each is called in errors.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return hint(fmt.Errorf("give the %s", names[len(args)]),
				"'%s --help' shows how", cmd.CommandPath())
		case len(args) > len(names):
			return hint(fmt.Errorf("unexpected argument %q", args[len(names)]),
				"'%s --help' shows how", cmd.CommandPath())
		}
		return nil
	}
}

// flagForms say what the value of a flag of a type looks like, where its own error speaks of the parser.
var flagForms = map[string]string{
	"int": "a whole number", "uint64": "a whole number, 0 or more", "float64": "a number", "bool": "true or false", "duration": "a time such as 36h or 90s",
}

// explainFlagError says which flag an unknown one may have been meant to be, and what a value should be.
func explainFlagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		if unknown.GetSpecifiedName() == "reason" && cmd.Flags().Lookup(parkedFor) != nil {
			return hint(err, "what they were parked for is --%s; a reason is given for a decision", parkedFor)
		}
		var known []string
		add := func(flag *pflag.Flag) { known = append(known, flag.Name) }
		cmd.Flags().VisitAll(add)
		cmd.InheritedFlags().VisitAll(add)
		if near, ok := nearest(unknown.GetSpecifiedName(), known); ok {
			return hint(err, "did you mean --%s?", near)
		}
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if form, known := flagForms[invalid.GetFlag().Value.Type()]; known {
			err = fmt.Errorf("--%s: want %s, got %q", invalid.GetFlag().Name, form, invalid.GetValue())
		}
	}
	return hint(err, "'%s --help' lists the flags", cmd.CommandPath())
}

// logger gives the logger of commands: warnings of what they open, on stderr.
func (p *program) logger(c config) *slog.Logger {
	level := max(c.LogLevel.Level(), slog.LevelWarn)
	if c.LogLevel.Level() == slog.LevelDebug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: level}))
}
