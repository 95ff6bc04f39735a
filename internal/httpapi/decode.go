package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"speedybites/internal/validation"
)

// decode reads the whole body, so that no database connection ever waits for a client, and decodes it into dst, a
// pointer to a struct. What cannot be understood is a malformedError; a number that its field cannot hold is a
// validation.Errors.
func (a *api) decode(c *gin.Context, dst any) error {
	if !isJSON(c.Request.Header) {
		return errContentType
	}
	body, large, err := a.readBody(c)
	if large {
		defer a.limits.releaseLarge()
	}
	if err != nil {
		return err
	}
	return a.decodeJSON(body, dst)
}

// decodeNothing is decode for a request that needs no body: none is as good as an empty object, anything else a mistake.
func (a *api) decodeNothing(c *gin.Context) error {
	body, large, err := a.readBody(c)
	if large {
		defer a.limits.releaseLarge()
	}
	if err != nil || len(body) == 0 {
		return err
	}
	if !isJSON(c.Request.Header) {
		return errContentType
	}
	return a.decodeJSON(body, &struct{}{})
}

// isJSON tells whether the body is JSON in UTF-8, as it is.
func isJSON(h http.Header) bool {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	value := h.Get("Content-Type")
	if value == "application/json" {
		return true
	}
	mediaType, params, err := mime.ParseMediaType(value)
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// readBody reads at most MaxBodyBytes. The server's read timeout bounds the time. large says that the body has a place
// among the large ones, which the caller gives back.
func (a *api) readBody(c *gin.Context) (_ []byte, large bool, err error) {
	limit, announced := a.cfg.MaxBodyBytes, c.Request.ContentLength
	if announced > limit {
		return nil, false, errBodyTooLarge
	}
	// What the client announces is not trusted with more than a little memory before it arrives.
	const trusted = 16 << 10
	var body bytes.Buffer
	body.Grow(int(min(max(announced, 0), trusted)) + bytes.MinRead)
	_, err = body.ReadFrom(io.LimitReader(c.Request.Body, min(limit+1, smallBody)))
	if err == nil && body.Len() == smallBody {
		if large = a.limits.takeLarge(); !large {
			c.Writer.Header().Set(connectionHeader, "close") // the rest is not worth waiting for
			return nil, false, errManyBodies
		}
		body.Grow(int(max(announced-smallBody, 0)) + bytes.MinRead)
		_, err = body.ReadFrom(io.LimitReader(c.Request.Body, limit+1-smallBody))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, large, errSlowBody
	case err != nil:
		return nil, large, &malformedError{reason: "could not be read to its end"}
	case int64(body.Len()) > limit:
		return nil, large, errBodyTooLarge
	}
	return body.Bytes(), large, nil
}

// decodeJSON decodes body strictly. encoding/json finds the wrong syntax and the wrong types; strict what it lets pass.
func (a *api) decodeJSON(body []byte, dst any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &malformedError{reason: "is empty"}
	}
	if err := json.Unmarshal(body, dst); err != nil {
		return explain(err)
	}
	t := reflect.TypeOf(dst).Elem()
	known, ok := a.shapes.Load(t)
	if !ok {
		known, _ = a.shapes.LoadOrStore(t, shapeOf(t))
	}
	return strict(body, known.(*shape))
}

// explain says what json.Unmarshal found, in the client's words.
func explain(err error) error {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return &malformedError{reason: "is not valid JSON (at byte " + strconv.FormatInt(syntax.Offset, 10) + ")"}
	}
	wrongType := (*json.UnmarshalTypeError)(nil)
	if !errors.As(err, &wrongType) {
		return fmt.Errorf("decode body: %w", err)
	}
	if wrongType.Field == "" {
		return &malformedError{reason: "must be a JSON object"}
	}
	// "number 1.5": the right JSON type, but not a number that the field can hold.
	if strings.HasPrefix(wrongType.Value, "number ") {
		return validation.Errors{{Field: wrongType.Field, Message: "must be a whole number within its range"}}
	}
	return &malformedError{field: wrongType.Field, reason: "must be " + jsonType(wrongType.Type) + ", not " + wrongType.Value}
}

// jsonType names the JSON type that is decoded into t.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "an object"
	default:
		return "a string"
	}
}
