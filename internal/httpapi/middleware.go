package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/accounts"
	"speedybites/internal/audit"
)

type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to, or "" outside a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

const (
	headerRequestID  = "X-Request-Id"
	maxRequestID     = 128
	maxLoggedPath    = 256
	bearerPrefix     = "bearer "
	unmatchedRoute   = "unmatched"
	connectionHeader = "Connection"
)

// panicKey marks, among a request's gin keys, that its handler panicked.
const panicKey = "panic"

// begin gives the request its id, its span and its deadline, and counts it in the end. All in one step: each change of a
// request's context copies the request.
func (a *api) begin(c *gin.Context) {
	start := time.Now()
	id, header := requestID(c.Request.Header), c.Writer.Header()
	header.Set(headerRequestID, id)
	if a.forOperator(c) {
		a.beginOps(c, id)
		return
	}
	e := a.metrics.endpoint(c.Request.Method, c.FullPath())
	ctx, span := a.tracing.start(c.Request, e)
	if span.IsRecording() {
		header.Set(headerTraceID, span.SpanContext().TraceID().String())
	}
	ctx, cancel := a.bound(context.WithValue(ctx, requestIDKey{}, id), c.FullPath())
	c.Request = c.Request.WithContext(ctx)
	e.active.Inc()
	// Deferred, because a panic within an answer passes through here.
	defer func() {
		cancel()
		e.active.Dec()
		status := c.Writer.Status()
		o := outcome{
			status: status, errorType: errorType(status, c.GetBool(panicKey)),
			bytes: max(0, c.Writer.Size()), took: time.Since(start),
		}
		if !c.GetBool(streamKey) {
			a.metrics.observe(e, o, span.SpanContext())
		}
		endSpan(c, span, e, o)
	}()
	c.Next()
}

// bound gives a request its deadline, or its end with the server where it may last as long as somebody listens.
func (a *api) bound(ctx context.Context, route string) (context.Context, context.CancelFunc) {
	if route != pathOrderEvents {
		return context.WithTimeout(ctx, a.cfg.RequestTimeout)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.stopped, cancel)
	return ctx, func() { stop(); cancel() }
}

// requestID takes the client's id if it is well formed: it goes into logs and headers, so nothing but plain short words.
func requestID(h http.Header) string {
	if ids := h[headerRequestID]; len(ids) == 1 && wellFormedID(ids[0]) {
		return ids[0]
	}
	return uuid.Must(uuid.NewV7()).String()
}

func wellFormedID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return true
}

// accessLog writes one line for each request, also for one whose connection is cut by a panic.
func (a *api) accessLog(c *gin.Context) {
	start := time.Now()
	defer func() {
		ctx, status, route := c.Request.Context(), c.Writer.Status(), c.FullPath()
		level := slog.LevelInfo
		switch {
		case route == pathHealth || route == pathLivez || route == pathReadyz || a.forOperator(c):
			level = slog.LevelDebug
		case status >= http.StatusInternalServerError:
			level = slog.LevelWarn
		}
		handler := a.deps.Logger.Handler()
		if !handler.Enabled(ctx, level) {
			return
		}
		if route == "" {
			route = unmatchedRoute
		}
		// Past Logger.LogAttrs, which looks up the calling line: half the cost of this one, and nobody reads it.
		line := slog.NewRecord(time.Now(), level, "request", 0)
		line.AddAttrs(
			slog.String("method", c.Request.Method),
			slog.String("route", route),
			slog.String("path", bounded(c.Request.URL.Path, maxLoggedPath)),
			slog.Int("status", status),
			slog.Float64("duration_ms", float64(time.Since(start).Microseconds())/1000),
			slog.Int("bytes", max(0, c.Writer.Size())),
			slog.String("remote", c.ClientIP()),
		)
		if last := c.Errors.Last(); last != nil {
			line.AddAttrs(slog.String("error", last.Error()))
		}
		_ = handler.Handle(ctx, line) // as Logger does
	}()
	c.Next()
}

// bounded cuts s after at most n bytes, not within a character.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// recoverPanic answers a panic with the fixed 500; the stack goes to the log only.
func (a *api) recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		ctx, stack := c.Request.Context(), debug.Stack()
		c.Set(panicKey, true)
		a.metrics.panic(c.Request.Method, c.FullPath())
		recordPanic(ctx, v, stack)
		a.deps.Logger.LogAttrs(ctx, slog.LevelError, "panic while handling a request",
			slog.String("method", c.Request.Method), slog.String("route", c.FullPath()),
			slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(stack)))
		c.Abort()
		if c.Writer.Written() {
			// Part of an answer is out. Cutting the connection is the only way left to say that the rest is missing.
			panic(http.ErrAbortHandler)
		}
		_ = a.problem(c, internal, nil)
	}()
	c.Next()
}

// handler answers a request, or returns the error that fail answers it with.
type handler func(c *gin.Context) error

// userHandler is a handler for requests with a valid token.
type userHandler func(c *gin.Context, who accounts.Principal) error

// always answers, however many requests there are: probes and operators need to know.
func (a *api) always(h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			a.fail(c, err)
		}
	}
}

// public lets anyone in, as long as there are not too many.
func (a *api) public(h handler) gin.HandlerFunc {
	return a.always(func(c *gin.Context) error {
		if c.FullPath() != pathOrderEvents { // streams last, and have a bound of their own
			if !a.limits.enter(c.Request.Method) {
				return errTooMany
			}
			defer a.limits.leave()
		}
		if err := a.routeReads(c); err != nil {
			return err
		}
		return h(c)
	})
}

// user lets those in who have a valid token and one of the roles. It decides before anything of the body is read.
func (a *api) user(h userHandler, roles ...accounts.Role) gin.HandlerFunc {
	return a.public(func(c *gin.Context) error {
		token, err := bearer(c.Request.Header)
		if err != nil {
			return err
		}
		who, err := a.deps.Accounts.Authenticate(token)
		if err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		if !slices.Contains(roles, who.Role) {
			return errForbidden
		}
		// What a user sees is for that user: no cache between may keep it.
		c.Writer.Header().Set("Cache-Control", "no-store")
		return h(c, who)
	})
}

// bearer returns the token of the Authorization header. The scheme's case does not matter (RFC 9110 §11.1).
func bearer(h http.Header) (string, error) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", errNoToken
	}
	value := values[0]
	if len(value) <= len(bearerPrefix) || !strings.EqualFold(value[:len(bearerPrefix)], bearerPrefix) {
		return "", errNoToken
	}
	return strings.TrimSpace(value[len(bearerPrefix):]), nil
}

// actor is who, for the audit log.
func actor(c *gin.Context, who accounts.Principal) audit.Actor {
	return audit.Actor{ID: who.ID, Role: string(who.Role), RequestID: RequestID(c.Request.Context())}
}
