package lint

import (
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// labelSet is the labels that the result of an expression may have. nil means that they are not known.
type labelSet map[string]bool

func newSet(names ...string) labelSet {
	s := labelSet{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

func (s labelSet) names() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s))
}

// has reports whether the label may be there.
func (s labelSet) has(name string) bool { return s == nil || s[name] }

// outputLabels returns the labels that the result of an expression may have, as PromQL defines it for each kind of node.
func outputLabels(c *catalogue, e parser.Expr) labelSet {
	switch n := e.(type) {
	case *parser.VectorSelector:
		return selectorLabels(c, n)
	case *parser.MatrixSelector:
		return outputLabels(c, n.VectorSelector)
	case *parser.SubqueryExpr:
		return outputLabels(c, n.Expr)
	case *parser.ParenExpr:
		return outputLabels(c, n.Expr)
	case *parser.UnaryExpr:
		return outputLabels(c, n.Expr)
	case *parser.StepInvariantExpr:
		return outputLabels(c, n.Expr)
	case *parser.AggregateExpr:
		return aggregateLabels(c, n)
	case *parser.Call:
		return callLabels(c, n)
	case *parser.BinaryExpr:
		return binaryLabels(c, n)
	default:
		return newSet() // numbers and texts
	}
}

func selectorLabels(c *catalogue, v *parser.VectorSelector) labelSet {
	m, ok := c.find(v.Name)
	if !ok || m.labels == nil {
		return nil
	}
	return newSet(m.labels...)
}

func aggregateLabels(c *catalogue, a *parser.AggregateExpr) labelSet {
	inner := outputLabels(c, a.Expr)
	if a.Op == parser.TOPK || a.Op == parser.BOTTOMK {
		return inner
	}
	out := newSet()
	if a.Without {
		if inner == nil {
			return nil
		}
		maps.Copy(out, inner)
		for _, l := range a.Grouping {
			delete(out, l)
		}
		return out
	}
	for _, l := range a.Grouping {
		if inner.has(l) {
			out[l] = true
		}
	}
	return out
}

func callLabels(c *catalogue, call *parser.Call) labelSet {
	switch call.Func.Name {
	case "time", "vector", "scalar", "pi":
		return newSet()
	case "absent", "absent_over_time":
		out := newSet()
		parser.Inspect(call, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok {
				for _, m := range v.LabelMatchers {
					if m.Type == labels.MatchEqual && m.Name != model.MetricNameLabel {
						out[m.Name] = true
					}
				}
			}
			return nil
		})
		return out
	case "label_replace", "label_join":
		inner := outputLabels(c, call.Args[0])
		if to, ok := call.Args[1].(*parser.StringLiteral); ok && inner != nil {
			inner[to.Val] = true
		}
		return inner
	case "histogram_quantile":
		inner := outputLabels(c, call.Args[1])
		delete(inner, "le")
		return inner
	}
	for _, arg := range call.Args {
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			return outputLabels(c, arg)
		}
	}
	return newSet()
}

func binaryLabels(c *catalogue, b *parser.BinaryExpr) labelSet {
	left, right := outputLabels(c, b.LHS), outputLabels(c, b.RHS)
	switch {
	case b.LHS.Type() == parser.ValueTypeScalar:
		return right
	case b.RHS.Type() == parser.ValueTypeScalar, b.Op == parser.LAND, b.Op == parser.LUNLESS:
		return left
	case b.Op == parser.LOR:
		if left == nil || right == nil {
			return nil
		}
		out := newSet()
		maps.Copy(out, left)
		maps.Copy(out, right)
		return out
	}
	m := b.VectorMatching
	if m.Card == parser.CardOneToMany {
		left = right
	}
	if m.Card == parser.CardOneToOne && m.On {
		return newSet(m.MatchingLabels...)
	}
	if left == nil {
		return nil
	}
	out := newSet()
	maps.Copy(out, left)
	if m.Card == parser.CardOneToOne {
		for _, l := range m.MatchingLabels { // ignoring
			delete(out, l)
		}
	}
	for _, l := range m.Include {
		out[l] = true
	}
	return out
}
