package breaker

import (
	"net/http"
	"sync"

	"github.com/afex/hystrix-go/hystrix"
)

// stream is the process's, as hystrix-go's circuits are: two stream handlers race for the same latencies
// (rolling.Timing reads the time of its cache without its lock). It starts with its first reader and never ends, because
// the goroutine of one that was stopped could still meet that of the next.
var stream = sync.OnceValue(func() http.Handler {
	s := hystrix.NewStreamHandler()
	s.Start()
	return s
})

// Stream returns a handler of the event stream that Hystrix dashboards read: once a second, every circuit of this
// process.
func Stream() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { stream().ServeHTTP(w, r) })
}
