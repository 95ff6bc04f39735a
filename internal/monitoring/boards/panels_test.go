package boards_test

import (
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// TestPanels looks at what every panel must tell a tired reader.
func TestPanels(t *testing.T) {
	t.Parallel()
	for _, b := range all(t) {
		titles := map[string]bool{}
		for _, p := range b.Panels() {
			where := b.Name + ", " + *p.Title
			if *p.Title == "" || titles[*p.Title] {
				t.Errorf("%s: the title is empty or used twice", where)
			}
			titles[*p.Title] = true
			for _, part := range []string{"**Good:** ", "\n\n**Bad:** ", "\n\n**Next:** "} {
				if _, rest, found := strings.Cut(*p.Description, part); !found || rest == "" || rest[0] == '*' {
					t.Errorf("%s: the description has nothing for %q", where, part)
				}
			}
			if p.FieldConfig.Defaults.Unit == nil && len(p.FieldConfig.Defaults.Mappings) == 0 {
				t.Errorf("%s has neither unit nor words", where)
			}
			if p.Type != "logs" && p.Type != "heatmap" && p.FieldConfig.Defaults.Thresholds == nil {
				t.Errorf("%s has no thresholds", where)
			}
			if len(p.Links) == 0 {
				t.Errorf("%s leads nowhere", where)
			}
			targets(t, where, p)
		}
	}
}

// TestGrafanaTraps looks for what Grafana shows otherwise than it reads: words of a time line that is coloured by limits are
// shown as limits; an empty list of words does not take away the panel's; a unit for dates makes dates of texts too.
func TestGrafanaTraps(t *testing.T) {
	t.Parallel()
	for _, b := range all(t) {
		for _, p := range b.Panels() {
			where, defaults := b.Name+", "+*p.Title, p.FieldConfig.Defaults
			if p.Type == "state-timeline" && (len(defaults.Mappings) == 0 || defaults.Color.Mode == dashboard.FieldColorModeIdThresholds) {
				t.Errorf("%s would show limits and not words", where)
			}
			if p.Type == "table" && strings.HasPrefix(*defaults.Unit, "dateTime") {
				t.Errorf("%s has the unit %s for all columns", where, *defaults.Unit)
			}
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					if list, ok := property.Value.([]dashboard.ValueMapping); ok && len(list) == 0 {
						t.Errorf("%s: the empty list of words for %v does nothing", where, o.Matcher.Options)
					}
				}
			}
		}
	}
}

// targets looks at where a panel has its data from.
func targets(t *testing.T, where string, p dashboard.Panel) {
	t.Helper()
	uid := *p.Datasource.Uid
	if uid != "${datasource}" && uid != "${loki}" {
		t.Errorf("%s has its data from %s", where, uid)
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s has no query", where)
	}
	for _, target := range p.Targets {
		// Without the kind in the query itself, the schema's check would let everything in it pass.
		if wants := map[string]string{"prometheus": "${datasource}", "loki": "${loki}"}[target.DataqueryType()]; wants != uid {
			t.Errorf("%s has its data from %s, and a query for %s", where, uid, target.DataqueryType())
		}
	}
}

// TestGrid looks at the places of panels: inside the 24 columns, none on top of another, no hole, and numbers of their own.
func TestGrid(t *testing.T) {
	t.Parallel()
	const columns = 24
	for _, b := range all(t) {
		ids, taken := map[uint32]string{}, map[[2]uint32]string{}
		height := uint32(0)
		place := func(title string, id uint32, at dashboard.GridPos) {
			if other, used := ids[id]; used {
				t.Errorf("%s: %q and %q have the number %d", b.Name, title, other, id)
			}
			ids[id] = title
			if at.X+at.W > columns || at.W == 0 || at.H == 0 {
				t.Errorf("%s: %q is at %+v", b.Name, title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, used := taken[[2]uint32{x, y}]; used {
						t.Fatalf("%s: %q is on top of %q", b.Name, title, other)
					}
					taken[[2]uint32{x, y}] = title
				}
			}
			height = max(height, at.Y+at.H)
		}
		for _, p := range b.Dashboard.Panels {
			if p.RowPanel != nil {
				place("row "+*p.RowPanel.Title, p.RowPanel.Id, *p.RowPanel.GridPos)
			} else {
				place(*p.Panel.Title, *p.Panel.Id, *p.Panel.GridPos)
			}
		}
		if holes := columns*int(height) - len(taken); holes != 0 {
			t.Errorf("%s: %d cells are empty, the first after %s", b.Name, holes, firstHole(taken, height))
		}
	}
}

func firstHole(taken map[[2]uint32]string, height uint32) string {
	last := "the top"
	for y := range height {
		for x := range uint32(24) {
			title, used := taken[[2]uint32{x, y}]
			if !used {
				return last
			}
			last = title
		}
	}
	return "nothing"
}

// TestFirstRow holds the overview to its promise: what the first row answers is there, and in words.
func TestFirstRow(t *testing.T) {
	t.Parallel()
	b := all(t)[0]
	panels := map[string]dashboard.Panel{}
	for _, p := range b.Dashboard.Panels[1:] {
		if p.RowPanel != nil {
			break
		}
		panels[*p.Panel.Title] = *p.Panel
	}
	for title, words := range map[string][]string{
		"Verdict":         {"ALL WELL", "DATABASE AWAY", "FOR SOME", "IS BACK", "IT IS US", "A page fires", "NO DATA"},
		"Database":        {"Connected", "AWAY since", "never", "UNKNOWN"},
		"Circuit breaker": {"CLOSED", "HALF OPEN", "OPEN", "its start"},
		"Instances":       {"all ready", "NOT READY", "NONE READY"},
		"Pages firing":    {"none", "ALERTING IS DEAD"},
	} {
		p, found := panels[title]
		if !found {
			t.Errorf("the first row has no panel %q", title)
			continue
		}
		text := wordsOf(p)
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%q never says %s, only %s", title, w, text)
			}
		}
	}
	for _, title := range []string{"Errors", "Longest wait", "Budget left"} {
		if _, found := panels[title]; !found {
			t.Errorf("the first row has no panel %q", title)
		}
	}
}

// wordsOf returns the words that a panel may show instead of values, or as their unit.
func wordsOf(p dashboard.Panel) string {
	lists := [][]dashboard.ValueMapping{p.FieldConfig.Defaults.Mappings}
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if list, ok := property.Value.([]dashboard.ValueMapping); ok {
				lists = append(lists, list)
			}
		}
	}
	words := []string{*p.FieldConfig.Defaults.Unit}
	for _, list := range lists {
		for _, m := range list {
			if m.RangeMap != nil {
				words = append(words, *m.RangeMap.Options.Result.Text)
			}
			if m.ValueMap == nil {
				continue
			}
			for _, result := range m.ValueMap.Options {
				words = append(words, *result.Text)
			}
		}
	}
	return strings.Join(words, ", ")
}
