package dbtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Queries checks that listed, which the package under test exports, is exactly the names of the queries in its code. The
// database layer makes series for the listed names at the start, so a name that is missing would begin to exist with its
// first query. A name is a constant text: where a call does not say it, the caller of that function does.
func Queries(tb testing.TB, listed []string) {
	tb.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		tb.Fatal(err)
	}
	files := token.NewFileSet()
	var found []string
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			tb.Fatal(err)
		}
		found = append(found, queriesIn(tb, files, file)...)
	}
	slices.Sort(found)
	want := slices.Sorted(slices.Values(listed))
	if diff := cmp.Diff(slices.Compact(found), want); diff != "" {
		tb.Errorf("names of queries (-in the code +listed):\n%s", diff)
	}
}

// queriesIn returns the texts in a file that have the form of a query's name, and complains about a name that is put
// together at run time.
func queriesIn(tb testing.TB, files *token.FileSet, file *ast.File) (names []string) {
	tb.Helper()
	form := regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Recv != nil || n.Name.Name != "Queries"
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && form.MatchString(text) {
				names = append(names, text)
			}
		case *ast.CallExpr:
			if name := queryName(n); name != nil {
				if _, made := name.(*ast.BinaryExpr); made {
					tb.Errorf("%s: the name of a query is put together", files.Position(name.Pos()))
				}
			}
		}
		return true
	})
	return names
}

// queryName returns the name argument of a call like db.Read(ctx, name, f), or nil for any other call.
func queryName(call *ast.CallExpr) ast.Expr {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 3 || !slices.Contains([]string{"Read", "Write", "Background"}, method.Sel.Name) {
		return nil
	}
	return call.Args[1]
}
