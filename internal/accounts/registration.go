package accounts

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"speedybites/internal/validation"
)

// Limits in characters.
const (
	maxEmail    = 254
	maxName     = 120
	minPassword = 8
	maxPassword = 128
)

func (r Role) known() bool { return r == Customer || r == Owner || r == Admin }

func (r Registration) validate(roles ...Role) error {
	var errs validation.Errors
	switch {
	case r.Email == "":
		errs.Add("email", "is required")
	case !validEmail(r.Email):
		errs.Add("email", fmt.Sprintf("must be an e-mail address of at most %d characters", maxEmail))
	}
	// A password may be anything that a keyboard or a password manager makes; it is never stored or shown.
	switch n := utf8.RuneCountInString(r.Password); {
	case n == 0:
		errs.Add("password", "is required")
	case n < minPassword, n > maxPassword:
		errs.Add("password", fmt.Sprintf("must have %d to %d characters", minPassword, maxPassword))
	case !utf8.ValidString(r.Password):
		errs.Add("password", "must be valid UTF-8")
	}
	errs.Line("name", r.Name, 1, maxName)
	if !slices.Contains(roles, r.Role) {
		names := make([]string, len(roles))
		for i, role := range roles {
			names[i] = string(role)
		}
		errs.Add("role", "must be one of "+strings.Join(names, ", "))
	}
	return errs.Err()
}

func validateLogin(email, password string) error {
	var errs validation.Errors
	if email == "" {
		errs.Add("email", "is required")
	}
	if password == "" {
		errs.Add("password", "is required")
	}
	return errs.Err()
}

// validEmail reports whether email is a bare address: no display name, no comment, no angle brackets.
func validEmail(email string) bool {
	if utf8.RuneCountInString(email) > maxEmail {
		return false
	}
	var text validation.Errors
	text.Line("email", email, 1, maxEmail)
	a, err := mail.ParseAddress(email)
	return err == nil && text.Err() == nil && a.Name == "" && a.Address == email
}
