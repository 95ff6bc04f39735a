package audit

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"speedybites/internal/postgres"
)

// Config is what a Relay is made of. All but Stream and Registerer must be set.
type Config struct {
	// DB holds the entries.
	DB *postgres.DB
	// Sink is where the lines go, and Tail looks at the file that it writes.
	Sink Sink
	Tail TailReader
	Log  *slog.Logger
	// Stream names the files among those of all instances on the database, which must differ: see Stream. Default "audit".
	Stream string
	// Registerer takes the metrics; nil means that nobody looks at them.
	Registerer prometheus.Registerer
}

// Stream returns the name of the stream of the log files in dir: this host's name and the absolute path.
func Stream(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	host, err := os.Hostname()
	if err != nil {
		return dir
	}
	return host + ":" + dir
}
