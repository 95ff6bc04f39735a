package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"speedybites/internal/accounts"
	"speedybites/internal/catalog"
	"speedybites/internal/httpapi"
	"speedybites/internal/ordering"
	"speedybites/internal/postgres"
	"speedybites/internal/validation"
)

// secret is in every error of these tests; no client may ever see it.
const secret = "postgres://user:hunter2@db/orders SELECT * FROM users"

var errUnknown = errors.New("boom")

func TestProblem(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		err  error
	}{
		{"postgres.ErrUnavailable", postgres.ErrUnavailable},
		{"postgres.ErrSaturated", postgres.ErrSaturated},
		{"postgres.ErrConflict", postgres.ErrConflict},
		{"postgres.ErrStatementTimeout", postgres.ErrStatementTimeout},
		// The deadline that made a query give up is not the reason the client gets.
		{"postgres.ErrUnavailable over a deadline", fmt.Errorf("%w: %w", context.DeadlineExceeded, postgres.ErrUnavailable)},
		{"accounts.ErrBadToken", accounts.ErrBadToken},
		{"accounts.ErrBadCredentials", accounts.ErrBadCredentials},
		{"accounts.ErrEmailTaken", accounts.ErrEmailTaken},
		{"catalog.ErrNotFound", catalog.ErrNotFound},
		{"catalog.ErrForbidden", catalog.ErrForbidden},
		{"ordering.ErrNotFound", ordering.ErrNotFound},
		{"ordering.ErrUnknownCustomer", ordering.ErrUnknownCustomer},
		{"ordering.ErrKeyReused", ordering.ErrKeyReused},
		{"ordering.ErrKeyInFlight", ordering.ErrKeyInFlight},
		{"errNoRoute", httpapi.ErrNoRoute},
		{"errNoMethod", httpapi.ErrNoMethod},
		{"errNoToken", httpapi.ErrNoToken},
		{"errForbidden", httpapi.ErrForbidden},
		{"errContentType", httpapi.ErrContentType},
		{"errBodyTooLarge", httpapi.ErrBodyTooLarge},
		{"errSlowBody", httpapi.ErrSlowBody},
		{"errNotReady", httpapi.ErrNotReady},
		{"errDraining", httpapi.ErrDraining},
		{"errTooMany", httpapi.ErrTooMany},
		{"errManyBodies", httpapi.ErrManyBodies},
		{"context.DeadlineExceeded", context.DeadlineExceeded},
		// The client of this test still waits, so nobody had a reason to cancel.
		{"context.Canceled", context.Canceled},
		{"validation.Errors", validation.Errors{{Field: "name", Message: "is required"}, {Field: "items[0].quantity", Message: "must be between 1 and 99"}}},
		{"malformedError", httpapi.Malformed("items[0].quantity", "must be a number, not string")},
		{"unknown", errUnknown},
	}
	var got strings.Builder
	for _, row := range rows {
		s, _ := setup(t, httpapi.Config{})
		s.Route(http.MethodGet, "/fail", func(*gin.Context) error { return fmt.Errorf("%s: %w", secret, row.err) })
		w := do(s, http.MethodGet, "/fail", "", "X-Request-Id", "request-1")
		fmt.Fprintf(&got, "%s\n%d\n", row.name, w.Code)
		for _, name := range []string{"Retry-After", "WWW-Authenticate", "Connection"} {
			if value := w.Header().Get(name); value != "" {
				fmt.Fprintf(&got, "%s: %s\n", name, value)
			}
		}
		fmt.Fprintf(&got, "%s\n", w.Body)
	}
	if strings.Contains(got.String(), "hunter2") || strings.Contains(got.String(), "SELECT") {
		t.Error("the text of an error reached the client")
	}
	golden(t, "problems.txt", got.String())
}

func TestProblemUnavailableIsTheContracts(t *testing.T) {
	t.Parallel()
	s, _ := setup(t, httpapi.Config{})
	s.Route(http.MethodGet, "/fail", func(*gin.Context) error { return postgres.ErrUnavailable })
	w := do(s, http.MethodGet, "/fail", "", "X-Request-Id", "r")
	const want = `{"error":"Service Unavailable","message":"Database connection temporarily unavailable",` +
		`"status":"Database reconnecting...","retryAfter":10,"requestId":"r"}` + "\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Code != http.StatusServiceUnavailable {
		t.Errorf("got status %d, want 503; body (-want +got):\n%s", w.Code, diff)
	}
	if got := w.Header().Get("Retry-After"); got != "10" {
		t.Errorf("got Retry-After %q, want 10", got)
	}
}

func TestProblemLog(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name        string
		err         error
		accessLevel string
		errorLines  int
		accessError bool
	}{
		{"Unknown", errUnknown, "WARN", 1, false},
		{"Known5xx", postgres.ErrUnavailable, "WARN", 0, true},
		{"Known4xx", ordering.ErrNotFound, "INFO", 0, false},
		{"Invalid", validation.Errors{{Field: "name", Message: "is required"}}, "INFO", 0, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, b := setup(t, httpapi.Config{})
			s.Route(http.MethodGet, "/fail", func(*gin.Context) error { return row.err })
			do(s, http.MethodGet, "/fail", "")
			if got := len(b.log.with(t, "level", "ERROR")); got != row.errorLines {
				t.Errorf("got %d ERROR lines, want %d", got, row.errorLines)
			}
			access := b.log.with(t, "msg", "request")
			if len(access) != 1 || access[0]["level"] != row.accessLevel {
				t.Fatalf("got access log %v, want one line with level %s", access, row.accessLevel)
			}
			if _, got := access[0]["error"]; got != row.accessError {
				t.Errorf("got an error in the access log: %v, want %v", got, row.accessError)
			}
		})
	}
}

func TestProblemContextEnded(t *testing.T) {
	t.Parallel()
	serve := func(t *testing.T, ctx context.Context, err error) (*httptest.ResponseRecorder, *bundle) {
		t.Helper()
		s, b := setup(t, httpapi.Config{})
		s.Route(http.MethodGet, "/fail", func(*gin.Context) error { return err })
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/fail", nil))
		return w, b
	}
	t.Run("ClientGone", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range []error{context.Canceled, errUnknown} {
			w, b := serve(t, ctx, err)
			if w.Code != 499 {
				t.Errorf("%v: got status %d, want 499", err, w.Code)
			}
			if got := b.log.with(t, "level", "ERROR"); len(got) != 0 {
				t.Errorf("%v: got ERROR lines %v, want none", err, got)
			}
		}
	})
	t.Run("DeadlinePassed", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		w, b := serve(t, ctx, errUnknown)
		wantError(t, w, http.StatusGatewayTimeout)
		if got := b.log.with(t, "level", "ERROR"); len(got) != 0 {
			t.Errorf("got ERROR lines %v, want none", got)
		}
	})
}

// TestProblemsAreComplete reads the sources: a new sentinel without a row in the table would be a 500.
func TestProblemsAreComplete(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, pkg := range []string{"postgres", "accounts", "catalog", "ordering"} {
		for _, name := range sentinels(t, filepath.Join("..", pkg)) {
			want[pkg+"."+name] = true
		}
	}
	if len(want) == 0 {
		t.Fatal("found no sentinels at all")
	}
	got := map[string]bool{}
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "problems" {
			return true
		}
		for _, row := range spec.Values[0].(*ast.CompositeLit).Elts {
			if sel, ok := row.(*ast.CompositeLit).Elts[0].(*ast.SelectorExpr); ok {
				got[sel.X.(*ast.Ident).Name+"."+sel.Sel.Name] = true
			}
		}
		return false
	})
	delete(got, "context.DeadlineExceeded")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("sentinels and the table differ (-sentinels +table):\n%s", diff)
	}
}

// sentinels returns the exported Err… variables of the package in dir.
func sentinels(t *testing.T, dir string) []string {
	t.Helper()
	files, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, ident := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(ident.Name, "Err") {
						names = append(names, ident.Name)
					}
				}
			}
		}
	}
	return names
}
