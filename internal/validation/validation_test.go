package validation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"speedybites/internal/validation"
)

func TestErrors(t *testing.T) {
	t.Parallel()
	var errs validation.Errors
	if err := errs.Err(); err != nil {
		t.Errorf("got %v of nothing, want nil", err)
	}
	errs.Add("name", "is required")
	errs.Add("price", "must be low")
	wrapped := fmt.Errorf("create: %w", errs.Err())
	got, ok := errors.AsType[validation.Errors](wrapped)
	if !ok || !cmp.Equal(got, errs) {
		t.Errorf("got %v out of %v", got, wrapped)
	}
	if want := "create: name is required; price must be low"; wrapped.Error() != want {
		t.Errorf("got %q, want %q", wrapped, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		value            string
		minimum, maximum int
		text, line       string
	}{
		"Good":              {"Söhne & Töchter 🍕", 1, 17, "", ""},
		"EmptyOptional":     {"", 0, 5, "", ""},
		"Empty":             {"", 1, 5, "is required", "is required"},
		"Blank":             {" \t ", 1, 5, "is required", "is required"},
		"BlankOptional":     {"  ", 0, 5, "", ""},
		"CharactersNoBytes": {strings.Repeat("€", 5), 1, 5, "", ""},
		"Short":             {"abc", 4, 5, "must have 4 to 5 characters", "must have 4 to 5 characters"},
		"Long":              {"abcdef", 1, 5, "must have 1 to 5 characters", "must have 1 to 5 characters"},
		"NUL":               {"a\x00b", 1, 5, "must not contain control characters", "must not contain control characters"},
		"Escape":            {"a\x1bb", 1, 5, "must not contain control characters", "must not contain control characters"},
		"InvalidUTF8":       {"a\xffb", 1, 5, "must be valid UTF-8", "must be valid UTF-8"},
		"Lines":             {"a\r\nb\tc", 1, 9, "", "must be a single line"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text, line validation.Errors
			text.Text("field", test.value, test.minimum, test.maximum)
			line.Line("field", test.value, test.minimum, test.maximum)
			for _, check := range []struct {
				got  validation.Errors
				want string
			}{{text, test.text}, {line, test.line}} {
				var want validation.Errors
				if check.want != "" {
					want.Add("field", check.want)
				}
				if diff := cmp.Diff(want, check.got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	first := uuid.Max
	for limit, want := range map[int]int{0: 20, 1: 1, 100: 100} {
		var errs validation.Errors
		if got := errs.Limit(limit); got != want || errs.Err() != nil {
			t.Errorf("limit %d: got %d, %v, want %d", limit, got, errs, want)
		}
	}
	for _, limit := range []int{-1, 101} {
		var errs validation.Errors
		if errs.Limit(limit); len(errs) != 1 || errs[0].Field != "limit" {
			t.Errorf("limit %d: got %v", limit, errs)
		}
	}
	id := uuid.New()
	var errs validation.Errors
	if got := errs.Cursor(validation.EncodeCursor(id), first); got != id {
		t.Errorf("got %v, want %v", got, id)
	}
	if got := errs.Cursor("", first); got != first {
		t.Errorf("got %v, want %v", got, first)
	}
	if errs.Err() != nil {
		t.Errorf("got %v, want none", errs)
	}
}

// FuzzCursor: a cursor is refused, or it is exactly what EncodeCursor makes of the id it stands for.
func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("nonsense")
	f.Add(validation.EncodeCursor(uuid.Max))
	f.Add(validation.EncodeCursor(uuid.Max) + "=")
	f.Fuzz(func(t *testing.T, cursor string) {
		var errs validation.Errors
		id := errs.Cursor(cursor, uuid.Nil)
		switch {
		case errs.Err() != nil:
			if id != uuid.Nil || len(errs) != 1 || errs[0].Field != "cursor" {
				t.Errorf("refused %q with %v and %v", cursor, errs, id)
			}
		case cursor != "" && validation.EncodeCursor(id) != cursor:
			t.Errorf("accepted %q for %v", cursor, id)
		}
	})
}
