package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"speedybites/internal/accounts"
	"speedybites/internal/catalog"
	"speedybites/internal/ordering"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// Errors that begin in this package.
var (
	errNoRoute      = errors.New("no such path")
	errNoMethod     = errors.New("method not allowed")
	errNoToken      = errors.New("no bearer token")
	errForbidden    = errors.New("role not allowed")
	errContentType  = errors.New("content type is not JSON")
	errBodyTooLarge = errors.New("body too large")
	errSlowBody     = errors.New("body took too long")
	errNotReady     = errors.New("not ready")
	errTooMany      = errors.New("too many requests at once")
	errManyBodies   = errors.New("too many large bodies at once")
	errDraining     = errors.New("shutting down")
)

// malformedError is a request that cannot be understood. What it says is shown to the client.
type malformedError struct {
	// field is the path of the JSON field that is wrong, "" for the whole body. reason completes the sentence.
	field, reason string
}

func (e *malformedError) Error() string {
	return cmp.Or(e.field, "The body") + " " + e.reason
}

// problem is how an error is told to the client. Nothing of the error's own text is.
type problem struct {
	code    int
	message string
	// status says more about the database, "" for nothing.
	status string
	// retryAfter is in seconds, 0 for none.
	retryAfter int
}

// statusClientGone is nginx's number for a client that left before its answer; it is only ever seen in the log.
const statusClientGone = 499

// The answers that do not follow from a sentinel alone.
var (
	internal   = problem{code: http.StatusInternalServerError, message: "Something went wrong on our side"}
	invalid    = problem{code: http.StatusUnprocessableEntity, message: "The request has invalid fields"}
	tooLong    = problem{code: http.StatusGatewayTimeout, message: "The request took too long"}
	clientGone = problem{code: statusClientGone, message: "The client closed the request"}
)

// problems is the one place where errors become answers. The first row whose error is in the chain counts: the database
// comes before the deadlines, since its errors often wrap one.
var problems = []struct {
	err error
	problem
}{
	{postgres.ErrUnavailable, problem{503, "Database connection temporarily unavailable", "Database reconnecting...", 10}},
	{postgres.ErrSaturated, problem{503, "Database connection temporarily unavailable", "Database at capacity", 1}},
	{postgres.ErrConflict, problem{503, "Too many requests change the same data right now", "Database at capacity", 1}},
	{postgres.ErrStatementTimeout, problem{504, "The database took too long to answer", "", 0}},

	{errNoToken, problem{401, "A bearer token is required", "", 0}},
	{accounts.ErrBadToken, problem{401, "The token is not valid or has expired", "", 0}},
	{accounts.ErrBadCredentials, problem{401, "The e-mail address or the password is wrong", "", 0}},
	{accounts.ErrEmailTaken, problem{409, "This e-mail address is already registered", "", 0}},
	{errForbidden, problem{403, "Your role may not do this", "", 0}},

	{catalog.ErrNotFound, problem{404, "There is no such restaurant or menu item", "", 0}},
	{catalog.ErrVersion, problem{412, "It was changed in the meantime: read it again", "", 0}},
	{catalog.ErrForbidden, problem{403, "Only the restaurant's owner or an admin may do this", "", 0}},
	{ordering.ErrNotFound, problem{404, "There is no such order", "", 0}},
	{ordering.ErrIllegalStep, problem{409, "The order cannot go to this status from the one it has", "", 0}},
	{ordering.ErrStepForbidden, problem{403, "Your role may not give an order this status", "", 0}},
	{ordering.ErrUnknownCustomer, problem{401, "The token's user does not exist", "", 0}},
	{ordering.ErrTooManyWatchers, problem{503, "Too many event streams are open", "", 1}},
	{ordering.ErrKeyReused, problem{422, "This Idempotency-Key was used for another request", "", 0}},
	{ordering.ErrKeyInFlight, problem{409, "A request with this Idempotency-Key is still in flight", "", 0}},

	{errNoRoute, problem{404, "There is nothing at this path", "", 0}},
	{errNoMethod, problem{405, "This path does not support the method", "", 0}},
	{errContentType, problem{415, "The body must be application/json in UTF-8, not compressed", "", 0}},
	{errBodyTooLarge, problem{413, "The body is too large", "", 0}},
	{errSlowBody, problem{408, "The body took too long to arrive", "", 0}},
	{errTooMany, problem{503, "Too many requests are being answered right now", "Service at capacity", 1}},
	{errManyBodies, problem{503, "Too many large bodies are arriving right now", "Service at capacity", 1}},
	{errDraining, problem{503, "The service is shutting down", "", 0}},
	{errNotReady, problem{503, "The service is not ready", "", 0}},

	{context.DeadlineExceeded, tooLong},
}

// problemOf finds the answer to err, which ended a request with the context ctx. known is false for an error that nobody expected.
func problemOf(ctx context.Context, err error) (p problem, details validation.Errors, known bool) {
	if errors.As(err, &details) {
		return invalid, details, true
	}
	if wrong := (*malformedError)(nil); errors.As(err, &wrong) {
		return problem{code: http.StatusBadRequest, message: wrong.Error()}, nil, true
	}
	if wrong := (*ordering.StepError)(nil); errors.As(err, &wrong) {
		message := fmt.Sprintf("An order cannot go from %s to %s", wrong.From, wrong.To)
		return problem{code: http.StatusConflict, message: message}, nil, true
	}
	for i := range problems {
		if errors.Is(err, problems[i].err) {
			return problems[i].problem, nil, true
		}
	}
	// Whatever fails once the context has ended fails because of it. A cancellation while the client still waits is a
	// mistake of ours.
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.Canceled):
		return clientGone, nil, true
	case errors.Is(ended, context.DeadlineExceeded):
		return tooLong, nil, true
	default:
		return internal, nil, false
	}
}

// fail answers with err's problem. An unknown error is one ERROR line; a known 5xx is told in the access log.
func (a *api) fail(c *gin.Context, err error) {
	ctx := c.Request.Context()
	c.Abort()
	if c.Writer.Written() {
		return // the answer is out, and what failed is the way to the client
	}
	a.metrics.reject(err)
	p, details, known := problemOf(ctx, err)
	switch {
	case !known:
		a.deps.Logger.LogAttrs(ctx, slog.LevelError, "request failed",
			slog.String("method", c.Request.Method), slog.String("route", c.FullPath()), slog.String("error", err.Error()))
	case p.code >= http.StatusInternalServerError:
		_ = c.Error(err)
	}
	_ = a.problem(c, p, details)
}

type problemView struct {
	Error      string            `json:"error"`
	Message    string            `json:"message"`
	Status     string            `json:"status,omitempty"`
	RetryAfter int               `json:"retryAfter,omitempty"`
	Details    validation.Errors `json:"details,omitempty"`
	RequestID  string            `json:"requestId"`
}

func (a *api) problem(c *gin.Context, p problem, details validation.Errors) error {
	view := problemView{
		Error:      http.StatusText(p.code),
		Message:    p.message,
		Status:     p.status,
		RetryAfter: p.retryAfter,
		Details:    details,
		RequestID:  RequestID(c.Request.Context()),
	}
	header := c.Writer.Header()
	if p.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	switch p.code {
	case statusClientGone:
		view.Error = "Client Closed Request"
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		// The rest of the body is not worth waiting for.
		header.Set(connectionHeader, "close")
	}
	return a.json(c, p.code, view)
}

// json answers with v. It is encoded before anything is written, so an error of it still finds the answer unwritten.
func (a *api) json(c *gin.Context, code int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	a.writeJSON(c, code, body.Bytes())
	return nil
}

func (a *api) writeJSON(c *gin.Context, code int, body []byte) {
	header := c.Writer.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	a.finish(c)
	c.Status(code)
	_, _ = c.Writer.Write(body) // a client that is gone is noticed elsewhere
}

// finish sets what every answer of a handler has.
func (a *api) finish(c *gin.Context) {
	if a.draining.Load() {
		c.Writer.Header().Set(connectionHeader, "close")
	}
	tellPosition(c)
}

// tagged answers GET with v, which etag names; "" takes the digest of what is sent. A client that has it already is told
// so by 304.
func (a *api) tagged(c *gin.Context, etag string, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if etag == "" {
		etag = digest(body.Bytes())
	}
	header := c.Writer.Header()
	header.Set(headerETag, etag)
	header.Set("Cache-Control", "no-cache") // keep it, and ask whether it still holds
	if unchanged(c.Request.Header, etag) {
		a.finish(c)
		c.Status(http.StatusNotModified)
		c.Writer.WriteHeaderNow()
		return nil
	}
	a.writeJSON(c, http.StatusOK, body.Bytes())
	return nil
}

// nothing answers 204.
func (a *api) nothing(c *gin.Context) {
	a.finish(c)
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}

func noRoute(*gin.Context) error { return errNoRoute }

func noMethod(*gin.Context) error { return errNoMethod }
