package incident_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"speedybites/internal/monitoring/incident"
)

// write makes a file of text and returns its name.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestMistakes has each mistake in a script found, in its line.
func TestMistakes(t *testing.T) {
	const head = "for 1m\ntargets speedy-bites a b\nbuckets hist_seconds 1 2\n" // the mistakes are below, from line 4 on
	for _, tt := range []struct{ name, script, want string }{
		{"Instruction", "evrey 5s", `:4: unknown instruction "evrey"`},
		{"Time", "for ever", `:4: "ever" is no time`},
		{"NoTime", "history", ":4: want one time"},
		{"Use", "use", ":4: want: use FILE"},
		{"UseMissing", "use missing.txt", ":4: read incident script: open "},
		{"Ignore", "ignore watchdog", ":4: want: ignore receiver NAME"},
		{"Pause", "pause 5m", ":4: want: pause FROM TO"},
		{"PauseBackwards", "pause 5m 1m", ":4: the pause ends at 1m, before it begins"},
		{"Targets", "targets other", ":4: want: targets JOB INSTANCE [INSTANCE ...]"},
		{"TargetTwice", "targets speedy-bites a", `:4: job "speedy-bites" has target "a" already`},
		{"Buckets", "buckets other", ":4: want: buckets NAME BOUND [BOUND ...]"},
		{"BucketsBackwards", "buckets other 2 1", ":4: the bound 1 is not above the one to its left"},
		{"Pages", "pages one", `:4: "one" is no number of pages`},
		{"SectionOnOneLine", "series x 1@0", ":4: series begins a section"},
		{"NoSection", "  x 1@0", ":4: an indented line must be in a section"},
		{"LinesOfInstruction", "pages 1\n  x 1@0", ":5: an indented line must be in a section"},
		{"NoPoint", "series\n  x", ":5: a series needs a point"},
		{"Point", "series\n  x 1", `:5: "1" is no point: want VALUE@TIME`},
		{"PointTime", "series\n  x 1@soon", `:5: "1@soon": "soon" is no time`},
		{"Number", "series\n  x much@0", `:5: "much@0": "much" is no number`},
		{"Rate", "series\n  x +2/d@0", `:5: "+2/d@0": "+2/d" is no rate`},
		{"Shift", "series\n  x now*2m@0", `:5: "now*2m@0": "*2m": want + or - and a time`},
		{"PointsBackwards", "series\n  x 1@2m 0@1m", `:5: "0@1m" comes before the point to its left`},
		{"Labels", "series\n  x{a=1} 1@0", ":5: x{a=1}: "},
		{"OpenLabels", `series` + "\n" + `  x{a="1" 1@0`, ":5: the labels have no end"},
		{"Twice", "series\n  x 1@0\n  x{instance=\"b\"} 1@0", `:6: {__name__="x", instance="b", job="speedy-bites"} is there already`},
		{"UnknownJob", "series\n  x{job=\"other\"} 1@0", `:5: job "other" has no targets`},
		{"UnknownInstance", "series\n  x{instance=\"c\"} 1@0", `:5: job "speedy-bites" has no target "c"`},
		{"LoadOfNoHistogram", "series\n  x 1/s~2@0", `:5: "1/s~2@0": only a histogram has loads`},
		{"NumberOfHistogram", "series\n  histogram hist_seconds 1@0", `:5: "1@0": a histogram has loads`},
		{"UnknownBuckets", "series\n  histogram y_seconds 1/s~2@0", ":5: the bounds of y_seconds are not known"},
		{"Observation", "series\n  histogram hist_seconds 1/s~slow@0", `:5: "1/s~slow@0": "slow" is no observation`},
		{"ChangeOfNothing", "change\n  x 1@0", ":5: x selects none of the series above"},
		{"ChangeOfOtherJob", "targets other c\nchange\n  up{instance=\"c\"} 0@0", `:6: up{instance="c"} selects none of the series above`},
		{"Selector", "change\n  x{a=~\"(\"} 1@0", ":5: x{a=~\"(\"}: "},
		{"Expectation", "expect\n  1m page Down", ":5: want: TIME RECEIVER firing ALERTS"},
		{"ExpectedTime", "expect\n  later page firing Down", `:5: "later" is no time`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, "script.txt", head+tt.script+"\n")
			_, err := incident.ParseFile(file)
			if err == nil || !strings.HasPrefix(err.Error(), file+tt.want) {
				t.Errorf("got %v, want %s%s", err, file, tt.want)
			}
		})
	}

	t.Run("NoLength", func(t *testing.T) {
		if _, err := incident.ParseFile(write(t, "script.txt", "pages 0\n")); err == nil {
			t.Error("got no error for a script without length")
		}
	})
	t.Run("TooLong", func(t *testing.T) {
		if _, err := incident.ParseFile(write(t, "script.txt", "for 1h\nhistory 7d\n")); err == nil {
			t.Error("got no error for a script of more than a week")
		}
	})
	t.Run("InUsedFile", func(t *testing.T) {
		used := write(t, "used.txt", "series\n  x\n")
		file := filepath.Join(filepath.Dir(used), "script.txt")
		if err := os.WriteFile(file, []byte("for 1m\nuse used.txt\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := incident.ParseFile(file)
		if err == nil || !strings.HasPrefix(err.Error(), file+":2: "+used+":2: a series needs") {
			t.Errorf("got %v, want both lines", err)
		}
	})
}
