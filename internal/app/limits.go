package app

import "speedybites/internal/config"

const (
	// elsewhere is how many requests may be under way that neither wait for the database nor are served by it: their
	// clients send slowly, or are slow to take the answer.
	elsewhere = 1000
	// ownFiles is more than the service opens for itself: logs, listeners, the operators' connections.
	ownFiles = 200
)

// httpLimits returns the requests and the connections that there may be at a time, for a process that may open so many
// files; 0 is not known.
//
// The requests are all that the database layer lets wait, and some more, so that it is the one to choose who has to go.
// Most connections are idle, as browsers keep them for a while. They leave descriptors for the database: without it there
// is nothing to answer with.
func httpLimits(c config.Database, files int) (requests, connections int) {
	requests = c.MaxWaiting + c.PoolMax + elsewhere
	connections = 5 * requests
	if files > 0 {
		connections = min(connections, max(files-2*c.PoolMax-ownFiles, files/2))
	}
	return requests, connections
}
