package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"speedybites/internal/config"
)

// checkTimeout bounds one question to the running instance. The answers come from its memory, whatever the database does.
const checkTimeout = 3 * time.Second

var errPortUnknown = errors.New("PORT is 0: which port the instance was given is not to be found out from here")

// newCheck asks the instance that runs with the same settings, for those who have no other program to ask with: health
// checks of containers without a shell.
func newCheck(load loadFunc) *cobra.Command {
	var live, ready bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Ask the running instance whether it is well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var paths []string
			if live {
				paths = append(paths, "/livez")
			}
			if ready {
				paths = append(paths, "/readyz")
			}
			if len(paths) == 0 {
				return usageError{fmt.Errorf("say what to check: --live or --ready\n\n%s", cmd.UsageString())}
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			return check(cmd.Context(), cfg.HTTP, paths)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "does the process work? (GET /livez)")
	cmd.Flags().BoolVar(&ready, "ready", false, "does it want traffic? (GET /readyz)")
	return cmd
}

// check asks the instance for each of the paths, and returns what was not answered with 200.
func check(ctx context.Context, cfg config.HTTP, paths []string) error {
	addr, err := askAt(cfg)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := ask(ctx, "http://"+addr+path); err != nil {
			return err
		}
	}
	return nil
}

// askAt returns where an instance with these settings is reached from its own machine.
func askAt(cfg config.HTTP) (string, error) {
	if cfg.Port == 0 {
		return "", errPortUnknown
	}
	host := cfg.Host
	switch addr, err := netip.ParseAddr(host); {
	case host == "", err == nil && addr.Unmap() == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(cfg.Port)), nil
}

func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	// A proxy for the world outside has no business here, and a redirect is no answer.
	client := http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err // It names the URL.
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // The status is what counts.
		return fmt.Errorf("%s answers %s: %q", url, resp.Status, body)
	}
	return nil
}
