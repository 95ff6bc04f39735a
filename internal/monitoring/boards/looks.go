package boards

import (
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Colours say again what words or lines say already: nobody has to tell red from green.
const (
	good    = "green"
	warning = "yellow"
	serious = "orange"
	bad     = "red"
	neutral = "blue"
	unknown = "purple"
)

// Units, as Grafana calls them.
const (
	perSecond         = "ops"
	requestsPerSecond = "reqps"
	seconds           = "s"
	clock             = "dthms" // hours, minutes and seconds
	moment            = "dateTimeAsIsoNoDateIfToday"
	inBytes           = "bytes"
	bytesPerSecond    = "Bps"
	percent           = "percentunit"
	count             = "short"
)

// limits are thresholds: the colour from the lowest value on, and from each step on another.
func limits(first string, then ...dashboard.Threshold) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).
		Steps(append([]dashboard.Threshold{{Color: first}}, then...))
}

func from(value float64, colour string) dashboard.Threshold {
	return dashboard.Threshold{Value: &value, Color: colour}
}

// noLimits is for what is neither good nor bad.
func noLimits() *dashboard.ThresholdsConfigBuilder { return limits(neutral) }

// zeroIsGood is for what should not happen at all.
func zeroIsGood() *dashboard.ThresholdsConfigBuilder { return limits(good, from(1e-9, serious)) }

type mapping = dashboard.ValueMapping

// word shows a value as a word.
func word(value float64, text, colour string) mapping {
	return wordFor(strconv.FormatFloat(value, 'f', -1, 64), text, colour)
}

// wordFor shows the value of a label as another word.
func wordFor(value, text, colour string) mapping {
	return mapping{ValueMap: &dashboard.ValueMap{
		Type:    dashboard.MappingTypeValueToText,
		Options: map[string]dashboard.ValueMappingResult{value: {Text: &text, Color: &colour}},
	}}
}

// words shows every value between the two as a word.
func words(low, high float64, text, colour string) mapping {
	return mapping{RangeMap: &dashboard.RangeMap{
		Type: dashboard.MappingTypeRangeToText,
		Options: dashboard.DashboardRangeMapOptions{
			From: &low, To: &high, Result: dashboard.ValueMappingResult{Text: &text, Color: &colour},
		},
	}}
}

// The words for what several panels show.

func databaseWords() []mapping {
	return []mapping{word(1, "Connected", good), word(0, "AWAY", bad)}
}

func breakerWords() []mapping {
	return []mapping{word(0, "CLOSED", good), word(1, "HALF OPEN", warning), word(2, "OPEN", bad)}
}

func readyWords() []mapping {
	return []mapping{
		word(1, "ready", good), word(0, "NOT READY", bad), word(2, "shutting down", warning), word(-1, "DOWN", bad),
	}
}

func yesNoWords(yes, no string) []mapping {
	return []mapping{word(1, yes, good), word(0, no, bad)}
}

// unknownWord is for what queries make -1: no instance tells.
func unknownWord() mapping { return word(-1, "UNKNOWN", unknown) }

// nothingWord is for cells without a value, which would have the colour of the lowest limit.
func nothingWord() mapping {
	dash, none := "–", "transparent"
	return mapping{SpecialValueMap: &dashboard.SpecialValueMap{
		Type: dashboard.MappingTypeSpecialValue,
		Options: dashboard.DashboardSpecialValueMapOptions{
			Match: dashboard.SpecialValueMatchNull, Result: dashboard.ValueMappingResult{Text: &dash, Color: &none},
		},
	}}
}

// allSomeNone is for shares.
func allSomeNone(all, some, none string) []mapping {
	return []mapping{word(1, all, good), words(1e-9, 1-1e-9, some, serious), word(0, none, bad), unknownWord()}
}

// Properties for overrides: what one series or column has that the others of its panel have not.

type property = dashboard.DynamicConfigValue

func inUnit(unit string) property { return property{Id: "unit", Value: unit} }

func withDecimals(n int) property { return property{Id: "decimals", Value: n} }

func withWords(list ...mapping) property {
	return property{Id: "mappings", Value: append([]mapping{}, list...)}
}

func coloured(name string) property {
	return property{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": name}}
}

// inShades makes all series have one colour, lighter and darker.
func inShades(name string) []property {
	return []property{{Id: "color", Value: map[string]any{"mode": "shades", "fixedColor": name}}}
}

// paintedNumber is for columns with a number that is good below the first of its limits.
func paintedNumber(unit string, decimals int, steps ...dashboard.Threshold) []property {
	return []property{inUnit(unit), withDecimals(decimals), withWords(nothingWord()), colouredByLimits(good, steps...), painted()}
}

// colouredByLimits needs the limits in the override too: a panel's own would be those of another unit.
func colouredByLimits(first string, then ...dashboard.Threshold) property {
	return property{Id: "thresholds", Value: dashboard.ThresholdsConfig{
		Mode: dashboard.ThresholdsModeAbsolute, Steps: append([]dashboard.Threshold{{Color: first}}, then...),
	}}
}

// painted makes a table's cells have the colour of their value, behind the word or number.
func painted() property {
	return property{Id: "custom.cellOptions", Value: map[string]any{"type": "color-background", "mode": "basic"}}
}

func columnWidth(pixels int) property { return property{Id: "custom.width", Value: pixels} }

func aligned(to string) property { return property{Id: "custom.align", Value: to} }

// paintedWords is for columns with a state.
func paintedWords(list ...mapping) []property {
	return []property{withWords(append(list, nothingWord())...), painted(), aligned("center")}
}

func linked(title, address string) property {
	return property{Id: "links", Value: []map[string]any{{"title": title, "url": address, "targetBlank": true}}}
}

// limitLine draws a series as a limit: dashed, without an area, and not stacked on the others.
func limitLine(colour string) []property {
	return []property{
		coloured(colour),
		{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 10}}},
		{Id: "custom.lineWidth", Value: 2},
		{Id: "custom.fillOpacity", Value: 0},
		{Id: "custom.stacking", Value: map[string]any{"mode": "none", "group": "limit"}},
	}
}

// stacked puts series on top of each other: their height is the sum.
func stacked() *common.StackingConfigBuilder {
	return common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")
}

// limitShown draws a panel's thresholds as lines.
func limitShown() *common.GraphThresholdsStyleConfigBuilder {
	return common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)
}
