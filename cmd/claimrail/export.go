package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
)

func newExportCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write claims, payments or dead letters as a file",
		Long: `Write claims, payments or dead letters as a file, CSV or NDJSON, of any length. It goes to standard output, or with
--output to a file that is there only when it is whole. A file that is there already is replaced with --force alone.`,
		Example: `  claimrail export claims --output claims.csv
  claimrail export claims --status dead_lettered --format ndjson
  claimrail export payments --npi 1497775530
  claimrail export claims --server http://127.0.0.1:8000 --from 2026-03-01 > march.csv`,
		Args: noSuchCommand,
		RunE: showHelp,
	}
	cmd.AddCommand(newExportClaimsCommand(p), newExportPaymentsCommand(p), newExportLettersCommand(p))
	return cmd
}

// exportFlags say where an export goes, and in which form.
type exportFlags struct {
	format, output string
	force          bool
}

func (f *exportFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "format", "", "write `FORMAT`: csv or ndjson (default: as the name of the file says, else csv)")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to this `FILE`")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace the FILE of --output where it is there")
	mustComplete(cmd, "format", string(export.CSV), string(export.NDJSON))
}

// form gives the format that is asked for.
func (f *exportFlags) form(json bool) (export.Format, error) {
	format := export.Format(f.format)
	suffix := strings.ToLower(filepath.Ext(f.output))
	switch {
	case format == export.CSV && json:
		return "", misuse(errors.New("--json and --format csv exclude each other"), "leave one of them out")
	case format == export.CSV, format == export.NDJSON:
		return format, nil
	case format != "":
		return "", misuse(fmt.Errorf("--format %q is no format", f.format), "use csv or ndjson")
	case json, suffix == ".ndjson", suffix == ".jsonl":
		return export.NDJSON, nil
	default:
		return export.CSV, nil
	}
}

func newExportClaimsCommand(p *program) *cobra.Command {
	var out exportFlags
	var f claimFlags
	cmd := &cobra.Command{
		Use:   "claims",
		Short: "Write claims with their lines",
		Long: `Write claims with their lines, in the order of acceptance: in CSV a row for each line, in
NDJSON an object for each claim. All stand as they did at one moment. Subscriber numbers and
service dates are written: protected health information.

'claimrail import' takes the file: claims that are there already are duplicates, and
elsewhere it gives the same claims. In CSV one apostrophe stands in front of text that a
spreadsheet would take for a formula; import takes it off.`,
		Example: `  claimrail export claims --output claims.csv
  claimrail export claims --npi 1497775530 --from 2026-03-01 --to 2026-04-01 --format ndjson`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			return p.export(cmd.Context(), "claims", &out, func(s system, to io.Writer, format export.Format) error {
				return s.ExportClaims(cmd.Context(), to, format, filter)
			})
		},
	}
	out.bind(cmd)
	f.bind(cmd)
	return cmd
}

func newExportPaymentsCommand(p *program) *cobra.Command {
	var out exportFlags
	var npi, from, to string
	cmd := &cobra.Command{
		Use:   "payments",
		Short: "Write payments",
		Long: `Write payments, the newest first: in CSV a row for each posting, in NDJSON an object for
each payment. What is recorded meanwhile is not in it. Amounts are US dollars, times are UTC.`,
		Example: "  claimrail export payments --output payments.csv\n  claimrail export payments --from 2026-03-01 --to 2026-04-01",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var filter payment.PaymentFilter
			if filter.ProviderNPI, err = parseNPIText(npi); err != nil {
				return err
			}
			if filter.From, err = parseMoment("--from", from); err != nil {
				return err
			}
			if filter.To, err = parseMoment("--to", to); err != nil {
				return err
			}
			return p.export(cmd.Context(), "payments", &out, func(s system, to io.Writer, format export.Format) error {
				return s.ExportPayments(cmd.Context(), to, format, filter)
			})
		},
	}
	out.bind(cmd)
	cmd.Flags().StringVar(&npi, "npi", "", "only payments with a posting to the provider with this `NPI`")
	cmd.Flags().StringVar(&from, "from", "", "only payments recorded at this `TIME` or later (2026-03-28, or RFC 3339)")
	cmd.Flags().StringVar(&to, "to", "", "only payments recorded before this `TIME`")
	return cmd
}

func newExportLettersCommand(p *program) *cobra.Command {
	var out exportFlags
	var f letterFlags
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Write dead letters",
		Long: `Write dead letters, the newest first, those of all states unless --state says otherwise. Each is
as it stands when its row is written. The bodies of the messages are not written.`,
		Example: "  claimrail export dead-letters --state open --output open.csv",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			return p.export(cmd.Context(), "dead-letters", &out, func(s system, to io.Writer, format export.Format) error {
				return s.ExportDeadLetters(cmd.Context(), to, format, filter)
			})
		},
	}
	out.bind(cmd)
	f.bind(cmd)
	f.bindState(cmd, allStates)
	return cmd
}

// export writes to where the flags say, and leaves no half file there.
func (p *program) export(ctx context.Context, things string, out *exportFlags, write func(system, io.Writer, export.Format) error) error {
	format, err := out.form(p.json)
	if err != nil {
		return err
	}
	c, err := p.loadConfig()
	if err != nil {
		return err
	}
	if err := c.spareData("--output", out.output); err != nil {
		return err
	}
	return p.withSystem("export "+things, func(s system) error {
		if out.output == "" || out.output == "-" {
			counted := &counter{to: p.stdout}
			if err := write(s, counted, format); err != nil {
				if counted.bytes > 0 {
					return fmt.Errorf("what was written is not the whole: %w", err)
				}
				return err
			}
			return nil
		}
		size, err := writeWhole(ctx, out.output, out.force, func(to io.Writer) error { return write(s, to, format) })
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stderr, "%s: %d bytes\n", out.output, size)
		return err
	})
}

// counter counts what is written.
type counter struct {
	to    io.Writer
	bytes int64
}

func (c *counter) Write(piece []byte) (int, error) {
	n, err := c.to.Write(piece)
	c.bytes += int64(n)
	return n, err
}

// writeWhole writes a file that is there only when it is whole and on the disk. So there is the file
// before or the one after, never half of one.
func writeWhole(ctx context.Context, path string, replace bool, write func(io.Writer) error) (size int64, err error) {
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return 0, misuse(fmt.Errorf("%s is not a file", path), "name a file; without --output it goes to standard output")
	case err == nil && !replace:
		return 0, misuse(fmt.Errorf("%s is there already", path), "name another with --output, or add --force to replace it")
	}
	out, err := createOut(path, replace)
	if err != nil {
		return 0, err
	}
	defer out.drop()
	counted := &counter{to: out.file}
	if err = write(counted); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not written: %w", path, err)
	}
	return counted.bytes, out.commit()
}
