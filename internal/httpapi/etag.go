package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"speedybites/internal/catalog"
)

const headerETag = "ETag"

// tag is the entity tag (RFC 9110 §8.8.3) of what has a version.
func tag(version string) string { return `"` + version + `"` }

// digest is the entity tag of an answer that has no version of its own: a list.
func digest(body []byte) string {
	const length = 16 // bytes; nobody gains anything by a collision
	sum := sha256.Sum256(body)
	return tag(base64.RawURLEncoding.EncodeToString(sum[:length]))
}

// condition returns the versions that If-Match allows; nil where there is no such header, or "*", which only asks that the
// thing exists.
func condition(c *gin.Context) catalog.If {
	tags := c.Request.Header.Values("If-Match")
	if len(tags) == 0 {
		return nil
	}
	allowed := catalog.If{}
	for t := range splitTags(tags) {
		if t == "*" {
			return nil
		}
		if inner, ok := strings.CutPrefix(t, `"`); ok { // a weak tag matches nothing (RFC 9110 §13.1.1)
			allowed = append(allowed, strings.TrimSuffix(inner, `"`))
		}
	}
	return allowed
}

// unchanged reports whether the client has what is tagged, by If-None-Match.
func unchanged(h http.Header, etag string) bool {
	for t := range splitTags(h.Values("If-None-Match")) {
		if t == "*" || strings.TrimPrefix(t, "W/") == etag {
			return true
		}
	}
	return false
}

// splitTags yields the tags of a list. None of ours has a comma.
func splitTags(values []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, value := range values {
			for t := range strings.SplitSeq(value, ",") {
				if t = strings.TrimSpace(t); t != "" && !yield(t) {
					return
				}
			}
		}
	}
}
