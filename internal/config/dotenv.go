package config

import (
	"fmt"
	"regexp"
	"strings"
)

// parseDotenv reads the lines NAME=value of a .env file. Blank lines, comments
// after '#' at the start of a line or after a blank, "export " before the name
// and quotes around the value are understood; within double quotes \n, \t, \"
// and \\ are too. Of several lines with one name the last one counts. A '$' is
// just that: nothing is expanded, since passwords have them.
//
// godotenv is not used because it takes the comment of "A= # none" for the
// value, cuts "A=1 # at # 2" at the second '#', expands '$', and its errors
// have no line number but quote the file, secrets and all.
func parseDotenv(text string) (values map[string]dotenvValue, found []Mistake) {
	values = make(map[string]dotenvValue)
	text = strings.TrimPrefix(text, "\ufeff") // Windows editors begin files with this mark.
	name := regexp.MustCompile(`^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=`)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		match := name.FindStringSubmatch(line)
		if match == nil {
			found = append(found, dotenvMistake(number, "must be NAME=value, a comment or blank"))
			continue
		}
		value, problem := dotenvText(strings.TrimSpace(line[len(match[0]):]))
		if problem != "" {
			found = append(found, dotenvMistake(number, match[1]+": "+problem))
			continue
		}
		values[match[1]] = dotenvValue{value, number}
	}
	return values, found
}

type dotenvValue struct {
	text string
	line int
}

func dotenvMistake(line int, problem string) Mistake {
	return Mistake{Name: fmt.Sprintf("%s line %d", dotenvName, line), Problem: problem}
}

// dotenvText takes quotes and comment off what follows the '='.
func dotenvText(s string) (value, problem string) {
	if s == "" || (s[0] != '"' && s[0] != '\'') {
		return strings.TrimSpace(regexp.MustCompile(`(^|\s)#.*`).ReplaceAllLiteralString(s, "")), ""
	}
	quotedValue := regexp.MustCompile(`^'([^']*)'\s*(#.*)?$`)
	if s[0] == '"' {
		quotedValue = regexp.MustCompile(`^"((?:[^"\\]|\\.)*)"\s*(#.*)?$`)
	}
	match := quotedValue.FindStringSubmatch(s)
	if match == nil {
		return "", "the closing quote must be on the same line, with nothing but a comment after it"
	}
	if s[0] == '\'' {
		return match[1], ""
	}
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\"`, `"`, `\\`, `\`).Replace(match[1]), ""
}
