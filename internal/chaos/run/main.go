// Command run is `make chaos`: see package chaos.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"speedybites/internal/chaos"
)

func main() { os.Exit(run()) }

func run() int {
	minutes := flag.Float64("minutes", 10, "how long things go wrong")
	seed := flag.Uint64("seed", 0, "what goes wrong; 0 draws one")
	rate := flag.Int("rate", 100, "requests each second")
	race := flag.Bool("race", false, "build the service with the race detector, which makes it several times as slow")
	keep := flag.Bool("keep", false, "keep the logs also when all went well")
	flag.Parse()
	if flag.NArg() > 0 || *rate < 1 || *minutes <= 0 {
		fmt.Fprintln(os.Stderr, "the rate and the minutes have to be above 0, and there are no arguments beside the flags")
		return 2
	}
	for *seed == 0 {
		*seed = uint64(rand.Uint32()) //nolint:gosec // G404: it decides what a test does
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	report, err := chaos.Run(ctx, chaos.Config{
		For: time.Duration(*minutes * float64(time.Minute)), Seed: *seed, Rate: *rate, Race: *race, Keep: *keep,
	}, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	report.Print(os.Stdout)
	if !report.OK() {
		return 1
	}
	return 0
}
