package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"speedybites/internal/httpapi"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	const ok = http.StatusOK
	rows := []struct {
		name, body string
		status     int
		// says is part of the message, or for a 422 the field of the first detail.
		says string
	}{
		{"Minimal", `{}`, ok, ""},
		{"Full", `{"restaurantId":"r","items":[{"menuItemId":"m","quantity":2},{}],"deliveryAddress":"a","note":"n"}`, ok, ""},
		{"Spaces", " \t\r\n{ \"items\" : [ { \"quantity\" : 1 } , { } , null ] , \"note\" : null }\n ", ok, ""},
		{"Empty list", `{"items":[]}`, ok, ""},
		{"Escapes", `{"n\u006fte":"\ud83c\udf54 \u00e9 \\u0000 \"\/\b\f\n\r\t"}`, ok, ""},
		{"Empty", ``, 400, "The body is empty"},
		{"OnlySpaces", "  \n", 400, "The body is empty"},
		{"Garbage", `{"note":`, 400, "The body is not valid JSON (at byte 8)"},
		{"Trailing", `{} {}`, 400, "not valid JSON"},
		{"SingleQuotes", `{'note':'x'}`, 400, "not valid JSON"},
		{"Comment", `{} // hello`, 400, "not valid JSON"},
		{"ByteOrderMark", "\ufeff{}", 400, "not valid JSON"},
		{"RawNewlineInText", "{\"note\":\"a\nb\"}", 400, "not valid JSON"},
		{"List", `[]`, 400, "The body must be a JSON object"},
		{"Null", `null`, 400, "The body must be a JSON object"},
		{"Text", `"x"`, 400, "The body must be a JSON object"},
		{"Unknown", `{"colour":"red"}`, 400, `"colour" is not a known field`},
		{"UnknownNested", `{"items":[{},{"colour":{"a":1}}]}`, 400, `items[1]."colour" is not a known field`},
		// encoding/json alone would take these two.
		{"OtherCase", `{"Note":"x"}`, 400, `"Note" is not a known field`},
		{"Twice", `{"note":"a","note":"b"}`, 400, "note is given twice"},
		{"TwiceEscaped", `{"note":"a","n\u006fte":"b"}`, 400, "note is given twice"},
		{"TwiceNested", `{"items":[{"quantity":1,"quantity":2}]}`, 400, "items[0].quantity is given twice"},
		{"EmptyName", `{"":1}`, 400, `"" is not a known field`},
		{"LongName", `{"` + strings.Repeat("x", 1000) + `":1}`, 400, `xxx…" is not a known field`},
		{"NumberForText", `{"note":1}`, 400, "note must be a string, not number"},
		{"TextForNumber", `{"items":[{"quantity":"2"}]}`, 400, "items.quantity must be a number, not string"},
		{"ObjectForList", `{"items":{}}`, 400, "items must be a list, not object"},
		{"TextForObject", `{"items":["x"]}`, 400, "items must be an object, not string"},
		{"Fraction", `{"items":[{"quantity":1.5}]}`, 422, "items.quantity"},
		{"Huge", `{"items":[{"quantity":99999999999999999999}]}`, 422, "items.quantity"},
		{"NUL", `{"note":"a\u0000b"}`, 400, "note must not contain NUL characters"},
		{"NULNested", `{"items":[{"menuItemId":"\u0000"}]}`, 400, "items[0].menuItemId must not contain NUL"},
		{"InvalidUTF8", "{\"note\":\"\xff\"}", 400, "note must be valid UTF-8"},
		{"InvalidUTF8Name", "{\"\xff\":1}", 400, "The body has a field whose name must be valid UTF-8"},
		{"HalfPair", `{"note":"\ud83c"}`, 400, "note must not contain half a surrogate pair"},
		{"HalfPairThenEscape", `{"note":"\ud83c\n"}`, 400, "half a surrogate pair"},
		{"HalfPairThenLetter", `{"note":"\ud83c\u0041"}`, 400, "half a surrogate pair"},
		{"LowHalfFirst", `{"note":"\udf54\ud83c"}`, 400, "half a surrogate pair"},
		{"Deep", `{"note":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, 400, "not valid JSON"},
		{"DeepUnknown", `{"x":` + strings.Repeat(`{"x":`, 5000) + `1` + strings.Repeat("}", 5000) + `}`, 400, `"x" is not a known field`},
		{"Limit", `{"note":"` + strings.Repeat("x", 1<<20-11) + `"}`, ok, ""},
		{"OverLimit", `{"note":"` + strings.Repeat("x", 1<<20-10) + `"}`, 413, "The body is too large"},
	}
	s, _ := setup(t, httpapi.Config{})
	s.Route(http.MethodPost, "/decode", func(c *gin.Context) error {
		var v httpapi.OrderRequest
		if err := s.Decode(c, &v); err != nil {
			return err
		}
		return s.Reply(c, v)
	})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := do(s, http.MethodPost, "/decode", row.body)
			if row.status == ok {
				if w.Code != ok {
					t.Errorf("got status %d with %s, want 200", w.Code, w.Body)
				}
				return
			}
			body := wantError(t, w, row.status)
			says := body.Message
			if row.status == http.StatusUnprocessableEntity {
				says = body.Details[0].Field
			}
			if !strings.Contains(says, row.says) {
				t.Errorf("got %q, want it to contain %q", says, row.says)
			}
		})
	}
}

func TestDecodeKeepsValues(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{})
	var got httpapi.OrderRequest
	body := `{"restaurantId":"r","items":[{"menuItemId":"m","quantity":2}],"deliveryAddress":"Größe 1","note":"\ud83c\udf54"}`
	if err := s.DecodeJSON([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"restaurantId":"r","items":[{"menuItemId":"m","quantity":2}],"deliveryAddress":"Größe 1","note":"🍔"}`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("values differ (-want +got):\n%s", diff)
	}
}

func TestDecodeContentType(t *testing.T) {
	t.Parallel()
	rows := []struct {
		contentType, encoding string
		status                int
	}{
		{"application/json", "", 200},
		{"application/json; charset=utf-8", "", 200},
		{`Application/JSON;charset="UTF-8"`, "", 200},
		{"application/json", "identity", 200},
		{"application/json", "gzip", 415},
		{"application/json; charset=latin1", "", 415},
		{"application/json;;;=", "", 415},
		{"application/jsonp", "", 415},
		{"application/problem+json", "", 415},
		{"text/plain", "", 415},
		{"application/x-www-form-urlencoded", "", 415},
		{"", "", 415},
	}
	s, _ := setup(t, httpapi.Config{})
	s.Route(http.MethodPost, "/decode", func(c *gin.Context) error {
		if err := s.Decode(c, &httpapi.OrderRequest{}); err != nil {
			return err
		}
		return s.Reply(c, nil)
	})
	for _, row := range rows {
		t.Run(row.contentType+row.encoding, func(t *testing.T) {
			t.Parallel()
			w := do(s, http.MethodPost, "/decode", `{}`, "Content-Type", row.contentType, "Content-Encoding", row.encoding)
			if w.Code != row.status {
				t.Errorf("got status %d with %s, want %d", w.Code, w.Body, row.status)
			}
		})
	}
}

func TestDecodeUnknownLength(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{MaxBodyBytes: 100})
	s.Route(http.MethodPost, "/decode", func(c *gin.Context) error { return s.Decode(c, &httpapi.OrderRequest{}) })
	send := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/decode", body)
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = -1
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	wantError(t, send(strings.NewReader(`{"note":"`+strings.Repeat("x", 100)+`"}`)), http.StatusRequestEntityTooLarge)
	cut := io.MultiReader(strings.NewReader(`{"note":`), failingReader{})
	wantError(t, send(cut), http.StatusBadRequest)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"restaurantId":"r","items":[{"menuItemId":"m","quantity":2},{},null],"deliveryAddress":"a","note":null}`,
		`{"n\u006fte":"\ud83c\udf54"}`, `{"note":"\u0000"}`, "{\"note\":\"\xff\"}", `{"a":[[[]]]}`, `{"note":"a","note":"b"}`,
		`{"items":[{"quantity":1e2}]}`, `{"Note":""}`, `{"note":"\ud83c\"}`, `[`, `nul`, ` {"items":[ ] } `,
	} {
		f.Add([]byte(seed))
	}
	s, _ := setup(f, httpapi.Config{})
	f.Fuzz(func(t *testing.T, body []byte) {
		var got httpapi.OrderRequest
		if err := s.DecodeJSON(bytes.Clone(body), &got); err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("message %q is not text", err)
			}
			return
		}
		// What passes is what encoding/json makes of it, with nothing lost or repaired.
		var want httpapi.OrderRequest
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("accepted %q, encoding/json says: %v", body, err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Fatalf("got %s, want %s", a, b)
		}
		if !utf8.Valid(body) {
			t.Fatalf("accepted invalid UTF-8: %q", body)
		}
		if bytes.Contains(a, []byte(`\u0000`)) && !bytes.Contains(a, []byte(`\\u0000`)) {
			t.Fatalf("accepted a NUL: %q", body)
		}
	})
}
