package breaker

import (
	"net/http"

	"github.com/afex/hystrix-go/hystrix"
)

// Stream returns a handler of the event stream that Hystrix dashboards read: once a second, every circuit of this
// process. stop ends it.
func Stream() (handler http.Handler, stop func()) {
	s := hystrix.NewStreamHandler()
	s.Start()
	return s, s.Stop
}
