// Package validationtest checks in tests which fields an error names. It is test support only.
package validationtest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"speedybites/internal/validation"
)

// WantFields checks that err names exactly these fields as wrong.
func WantFields(tb testing.TB, err error, fields ...string) {
	tb.Helper()
	errs, ok := errors.AsType[validation.Errors](err)
	if !ok {
		tb.Fatalf("got error %v, want validation.Errors", err)
	}
	var got []string
	for _, e := range errs {
		got = append(got, e.Field)
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		tb.Errorf("fields (-want +got):\n%s", diff)
	}
}
