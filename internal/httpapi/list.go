package httpapi

import (
	"fmt"
	"math"
	"net/url"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"speedybites/internal/validation"
)

// The bounds of ?limit; the feature packages know the default.
const (
	minLimit = 1
	maxLimit = 100
)

// query is the query string of a request and what is wrong with it. Unknown parameters are ignored.
type query struct {
	values url.Values
	wrong  validation.Errors
}

func parseQuery(c *gin.Context) (*query, error) {
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, &malformedError{field: "The query string", reason: "is malformed"}
	}
	return &query{values: values}, nil
}

// text returns a parameter that PostgreSQL can take as a text; "" when it is absent.
func (q *query) text(name string) string {
	value := q.values.Get(name)
	q.wrong.Text(name, value, 0, math.MaxInt)
	return value
}

// id returns a parameter that is an id; uuid.Nil when it is absent.
func (q *query) id(name string) uuid.UUID {
	value := q.values.Get(name)
	if value == "" {
		return uuid.Nil
	}
	id, err := parseID(value)
	if err != nil {
		q.wrong.Add(name, idProblem(value))
	}
	return id
}

// page returns limit and cursor; limit 0 when it is absent.
func (q *query) page() (limit int, cursor string) {
	cursor = q.text("cursor")
	if !q.values.Has("limit") {
		return 0, cursor
	}
	limit, err := strconv.Atoi(q.values.Get("limit"))
	if err != nil || limit < minLimit || limit > maxLimit {
		q.wrong.Add("limit", fmt.Sprintf("must be a whole number between %d and %d", minLimit, maxLimit))
	}
	return limit, cursor
}

// listView is a list that is always complete.
type listView[T any] struct {
	Data []T `json:"data"`
}

// pageView is a piece of a list; NextCursor is nil in the last one.
type pageView[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"nextCursor"`
}

func viewPage[T, V any](list []T, view func(T) V, next string) pageView[V] {
	page := pageView[V]{Data: viewAll(list, view)}
	if next != "" {
		page.NextCursor = &next
	}
	return page
}

// viewAll never returns nil: an empty list is [] in JSON, not null.
func viewAll[T, V any](list []T, view func(T) V) []V {
	views := make([]V, len(list))
	for i := range list {
		views[i] = view(list[i])
	}
	return views
}

// pathID returns the id in the path. What is not an id cannot be anything's id: notFound.
func pathID(c *gin.Context, notFound error) (uuid.UUID, error) {
	id, err := parseID(c.Param("id"))
	if err != nil {
		return uuid.Nil, fmt.Errorf("path: %w", notFound)
	}
	return id, nil
}

func bodyID(wrong *validation.Errors, field, value string) uuid.UUID {
	id, err := parseID(value)
	if err != nil {
		wrong.Add(field, idProblem(value))
	}
	return id
}

func idProblem(value string) string {
	if value == "" {
		return "is required"
	}
	return "must be a UUID"
}

// parseID takes the one form that the API itself writes; uuid.Parse knows three more (braces, urn:uuid:, no dashes).
func parseID(s string) (uuid.UUID, error) {
	const canonical = 36
	if len(s) != canonical {
		return uuid.Nil, fmt.Errorf("id has %d characters, not %d", len(s), canonical)
	}
	return uuid.Parse(s)
}
