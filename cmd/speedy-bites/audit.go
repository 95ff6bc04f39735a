package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"speedybites/internal/app"
	"speedybites/internal/audit"
	"speedybites/internal/audit/chain"
)

func newAudit(load loadFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit verify",
		Short: "Check the audit log",
		Args:  cobra.MinimumNArgs(1), // only reached when the argument is none of the commands below
		RunE: func(cmd *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("unknown command %q\n\n%s", args[0], cmd.UsageString())}
		},
	}
	var v auditVerify
	verify := &cobra.Command{
		Use:   "verify [--dir LOG_DIR] [--database] [--allow-missing-start]",
		Short: "Find the first line of audit.log that was changed, removed or moved",
		Long: `Reads audit.log and its backups and checks that every line carries the hash of the one before.

Prints what was read and ends with 0, or names the first broken line and ends with 1. That lines were cut off at
the end, or all files replaced, only shows in a comparison with the database: --database.
The service may be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd, load) },
	}
	verify.Flags().StringVar(&v.dir, "dir", "", "directory of audit.log (default: LOG_DIR)")
	verify.Flags().BoolVar(&v.database, "database", false, "compare with what the database knows of the chain")
	verify.Flags().BoolVar(&v.allowMissingStart, "allow-missing-start", false,
		"accept that the oldest backups were deleted or are from before the lines were chained")
	cmd.AddCommand(verify)
	return cmd
}

// auditVerify is the command line of audit verify.
type auditVerify struct {
	dir                         string
	database, allowMissingStart bool
}

func (v auditVerify) run(cmd *cobra.Command, load loadFunc) error {
	dir, opts := v.dir, chain.Options{AllowMissingStart: v.allowMissingStart}
	if dir == "" || v.database {
		cfg, err := load()
		if err != nil {
			return err
		}
		if dir == "" {
			dir = cfg.Log.Dir
		}
		if v.database {
			if cfg.Database.URL.IsZero() {
				return errNoDatabase
			}
			dsn, err := app.DatabaseDSN(cmd.Context(), cfg.Database)
			if err != nil {
				return err
			}
			chains, err := audit.Chains(cmd.Context(), dsn)
			if err != nil {
				return err
			}
			opts.Known = &chain.Known{Chains: chains, Stream: audit.Stream(dir)}
		}
	}
	if _, err := os.Stat(dir); err != nil && !v.database {
		return fmt.Errorf("verify audit log: %w", err)
	}
	report, err := chain.Verify(cmd.Context(), filepath.Join(dir, "audit.log"), opts)
	if err != nil {
		return fmt.Errorf("verify audit log: %w", err)
	}
	if report.Files == 0 && report.Break == nil {
		return fmt.Errorf("verify audit log: there is no audit.log in %s", dir)
	}
	if err := printReport(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	if report.Break != nil {
		return errors.New("audit log broken: " + report.Break.String())
	}
	return nil
}

func printReport(w io.Writer, r chain.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, name+"\t"+format+"\n", args...)
	}
	row("files", "%d", r.Files)
	row("lines", "%d", r.Lines)
	if r.Unchained > 0 {
		row("not chained", "%d lines from before the chain, which prove nothing", r.Unchained)
	}
	if r.Head.Seq > 0 {
		row("first", "%s number %d", r.First.UTC().Format(time.RFC3339Nano), r.FirstSeq)
		row("last", "%s number %d", r.Last.UTC().Format(time.RFC3339Nano), r.Head.Seq)
		row("chain", "%s", r.Head.ChainID)
		row("head", "%s", r.Head.Hash)
	}
	if r.Unfinished > 0 {
		row("note", "%d bytes of an unfinished last line, as a kill or a moment of writing leaves; the service removes them at its start",
			r.Unfinished)
	}
	for _, note := range r.Notes {
		row("note", "%s", note)
	}
	verdict := "every line is the one that was written"
	if r.Break != nil {
		verdict = "broken"
	}
	row("verdict", "%s", verdict)
	return table.Flush()
}
