package config

import "strings"

// Mistake is one thing that is wrong with the environment.
type Mistake struct {
	// Name is the variable, or ".env".
	Name string
	// Value is the rejected value as it may be shown: quoted, secrets
	// redacted. It is empty where there is none.
	Value string
	// Problem says what is allowed, or what went wrong.
	Problem string
}

// String is the mistake on one line.
func (m Mistake) String() string {
	if m.Value == "" {
		return m.Name + ": " + m.Problem
	}
	return m.Name + ": " + m.Value + ": " + m.Problem
}

// Error is everything that is wrong with the environment, one line each.
type Error struct {
	Mistakes []Mistake
}

// Error returns the mistakes, one line each.
func (e *Error) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// asError keeps "no mistakes" a nil error.
func asError(found []Mistake) error {
	if len(found) == 0 {
		return nil
	}
	return &Error{Mistakes: found}
}
