// Package validation collects what is wrong with a request, field by field.
package validation

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error says what is wrong with one field. Field is the path that the client sent, for example "items[2].quantity".
type Error struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Errors is everything that is wrong with a request. It is an error; a caller finds it with errors.As.
type Errors []Error

// Error lists the fields and their messages, separated by semicolons.
func (e Errors) Error() string {
	var b strings.Builder
	for i, one := range e {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(one.Field + " " + one.Message)
	}
	return b.String()
}

// Add notes that field is wrong. The message completes a sentence that begins with the field's name: "must be …".
func (e *Errors) Add(field, message string) {
	*e = append(*e, Error{Field: field, Message: message})
}

// Err returns e as an error, or nil when nothing is wrong.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Text notes when value is not a text of minimum to maximum characters that PostgreSQL can store and a person can read:
// valid UTF-8 without control characters. Line breaks and tabs are let through: descriptions and notes have them.
func (e *Errors) Text(field, value string, minimum, maximum int) {
	if problem := textProblem(value, minimum, maximum); problem != "" {
		e.Add(field, problem)
	}
}

// Line is Text for values that are one line, such as names: line breaks and tabs are refused too.
func (e *Errors) Line(field, value string, minimum, maximum int) {
	problem := textProblem(value, minimum, maximum)
	if problem == "" && strings.ContainsAny(value, "\n\r\t") {
		problem = "must be a single line"
	}
	if problem != "" {
		e.Add(field, problem)
	}
}

// Range notes when value is not within minimum to maximum, both included.
func (e *Errors) Range(field string, value, minimum, maximum int64) {
	if value < minimum || value > maximum {
		e.Add(field, fmt.Sprintf("must be between %d and %d", minimum, maximum))
	}
}

func textProblem(value string, minimum, maximum int) string {
	if !utf8.ValidString(value) {
		return "must be valid UTF-8"
	}
	// A text of blanks only is as good as none: a restaurant called " " helps nobody.
	if minimum > 0 && strings.TrimSpace(value) == "" {
		return "is required"
	}
	if n := utf8.RuneCountInString(value); n < minimum || n > maximum {
		return fmt.Sprintf("must have %d to %d characters", minimum, maximum)
	}
	for _, r := range value {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return "must not contain control characters"
		}
	}
	return ""
}
