package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"speedybites/internal/accounts"
	"speedybites/internal/app"
)

// closeTimeout bounds the end of a command's database pool.
const closeTimeout = 5 * time.Second

func newUser(load loadFunc) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user create",
		Short: "Manage accounts",
		Args:  cobra.MinimumNArgs(1), // only reached when the argument is none of the commands below
		RunE: func(cmd *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("unknown command %q\n\n%s", args[0], cmd.UsageString())}
		},
	}
	var r accounts.Registration
	var role string
	create := &cobra.Command{
		Use:   "create --email E --role customer|owner|admin [--password P] [--name N]",
		Short: "Create an account; the password is read from standard input where the flag is absent",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			if cfg.Database.URL.IsZero() {
				return errNoDatabase
			}
			if r.Password == "" {
				if r.Password, err = readPassword(cmd); err != nil {
					return err
				}
			}
			r.Role = accounts.Role(role)
			if r.Name == "" {
				r.Name, _, _ = strings.Cut(r.Email, "@")
			}
			users, closeDB, err := app.OpenAccounts(cfg, stderrLogger(cmd, cfg.Log))
			if err != nil {
				return err
			}
			defer func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), closeTimeout)
				defer cancel()
				closeDB(ctx)
			}()
			user, err := users.Create(cmd.Context(), r)
			if err != nil {
				return fmt.Errorf("create user: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", user.ID, user.Email, user.Role)
			return nil
		},
	}
	create.Flags().StringVar(&r.Email, "email", "", "e-mail address (required)")
	create.Flags().StringVar(&r.Password, "password", "", "password; better from standard input, as others can see a command line")
	create.Flags().StringVar(&role, "role", "", "customer, owner or admin (required)")
	create.Flags().StringVar(&r.Name, "name", "", "display name; default: the e-mail address up to the @")
	for _, flag := range []string{"email", "role"} {
		if err := create.MarkFlagRequired(flag); err != nil {
			panic(err) // the flag is defined above
		}
	}
	cmd.AddCommand(create)
	return cmd
}

// readPassword reads the first line of standard input, without echo where that is a terminal.
func readPassword(cmd *cobra.Command) (string, error) {
	if f, ok := cmd.InOrStdin().(interface{ Fd() uintptr }); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
		password, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(password), err
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password from standard input: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usageError{errors.New("no password: give --password or write it to standard input")}
	}
	return line, nil
}
