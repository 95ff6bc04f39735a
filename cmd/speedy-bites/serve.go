package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"speedybites/internal/app"
	"speedybites/internal/config"
	"speedybites/internal/demo"
)

type loadFunc func() (config.Config, error)

func newServe(load loadFunc, getenv func(string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the API (the default)",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd, load, getenv) },
	}
}

func serve(cmd *cobra.Command, load loadFunc, getenv func(string) string) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	if err := cfg.CheckDirs(); err != nil {
		return err
	}
	a, err := app.New(cmd.Context(), cfg, app.Options{Version: version(), Stderr: cmd.ErrOrStderr(), Getenv: getenv})
	if err != nil {
		return err
	}
	if cfg.Env == config.Development {
		fmt.Fprint(cmd.OutOrStdout(), firstSteps(a.Addr(), cfg.Database.URL.IsZero()))
	}
	return a.Run(cmd.Context())
}

// firstSteps tells a new user what to open and what to type.
func firstSteps(addr string, withDemo bool) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	base := "http://" + net.JoinHostPort(host, port)
	text := fmt.Sprintf(`
Speedy Bites is running.

  health        %[1]s/api/health
  restaurants   %[1]s/api/restaurants
`, base)
	if !withDemo {
		return text + "\n"
	}
	return text + fmt.Sprintf(`
Place an order:

  TOKEN=$(curl -s %[1]s/api/auth/register -H 'Content-Type: application/json' \
    -d "{\"email\":\"me-$$-$(date +%%s)@example.com\",\"password\":\"correct horse\",\"name\":\"Me\"}" | sed 's/.*"token":"\([^"]*\)".*/\1/')

  curl -s %[1]s/api/orders -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -H 'Idempotency-Key: my-first-order' \
    -d '{"restaurantId":"%[2]s","items":[{"menuItemId":"%[3]s","quantity":2}],"deliveryAddress":"1 Main Street"}'

`, base, demo.RestaurantID(), demo.MenuItemID())
}
