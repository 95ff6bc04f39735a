package config

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// urlParts is a connection URL cut up much as libpq and pgx do it. net/url
// cannot: it refuses most lists of hosts.
type urlParts struct {
	scheme string // with its "://"
	// login is what stands before the last '@'. The last one, and before
	// looking at anything else, so that a password with a bare '@', '/' or '#'
	// stays in one piece, and is redacted and refused as one.
	login          string
	hasLogin       bool
	user, password string // login cut at its first ':'
	hosts          string
	database       string // with its leading '/'
	query          string // without its '?'
}

// splitURL cuts text up; ok is false when it is no postgres URL at all. The
// parts may still be wrong.
func splitURL(text string) (parts urlParts, ok bool) {
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return urlParts{}, false
	}
	parts.scheme = scheme + "://"
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		parts.login, rest, parts.hasLogin = rest[:i], rest[i+1:], true
		parts.user, parts.password, _ = strings.Cut(parts.login, ":")
	}
	rest, parts.query, _ = strings.Cut(rest, "?")
	parts.hosts = rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		parts.hosts, parts.database = rest[:i], rest[i:]
	}
	return parts, true
}

// checkURL says what is wrong with a connection URL, in fixed words: no part
// of the text is repeated.
func checkURL(text string) error {
	parts, ok := splitURL(text)
	if !ok {
		return errors.New("it does not start with postgres:// or postgresql://")
	}
	if strings.ContainsAny(parts.login, "@/?#[]") {
		return errors.New("in the password and everywhere else, @ is written %40, / %2F, ? %3F and # %23 where they do not separate")
	}
	for _, part := range []string{parts.login, parts.database} {
		if _, err := url.PathUnescape(part); err != nil {
			return errors.New("a '%' that begins no percent-encoding is written %25")
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errors.New("blanks and control characters are not allowed in it")
	}
	if err := checkHosts(parts.hosts); err != nil {
		return err
	}
	if strings.Count(parts.database, "/") > 1 {
		return errors.New("the database's name has a '/'")
	}
	return checkQuery(parts.query)
}

func checkHosts(list string) error {
	// Without hosts the URL's host parameter or the client's default is used.
	if list == "" {
		return nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		host := entry
		if i := strings.LastIndexByte(entry, ':'); i > strings.LastIndexByte(entry, ']') {
			host = entry[:i]
			if n, err := strconv.ParseUint(entry[i+1:], 10, 16); err != nil || n == 0 {
				return errors.New("a port is not a number from 1 to 65535")
			}
		}
		if err := checkHost(host); err != nil {
			return err
		}
	}
	return nil
}

func checkHost(host string) error {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if _, err := netip.ParseAddr(inner); !ok || err != nil {
			return errors.New("an address in brackets is no IPv6 address")
		}
		return nil
	}
	// A socket directory is written in percent-encoding.
	name, err := url.PathUnescape(host)
	if err != nil || (!strings.HasPrefix(name, "/") && !isHostName(name)) {
		return errors.New("a host is not a host name or an IP address")
	}
	return nil
}

// checkQuery knows only the parameters that a typing error in would weaken or
// break the connection; the server judges the others.
func checkQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("what follows the '?' is not name=value&name=value")
	}
	known := map[string][]string{
		"sslmode":              {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
		"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
	}
	for _, name := range []string{"sslmode", "target_session_attrs"} {
		for _, value := range values[name] {
			if !slices.Contains(known[name], value) {
				return errors.New("its " + name + " is none of " + strings.Join(known[name], ", "))
			}
		}
	}
	if v := values.Get("connect_timeout"); v != "" {
		if _, err := strconv.ParseUint(v, 10, 31); err != nil {
			return errors.New("its connect_timeout is not a whole number of seconds")
		}
	}
	return nil
}

// mask stands for what RedactURL does not show.
const mask = "xxxxx"

// RedactURL returns a connection URL for people, with "xxxxx" for the password.
// It shows what it knows to be harmless and masks the rest, so that a URL with
// a mistake in it, say a password that was not encoded, gives nothing away
// either. A text that is no postgres URL becomes "[redacted]"; an empty one
// stays empty.
func RedactURL(text string) string {
	if text == "" {
		return ""
	}
	parts, ok := splitURL(text)
	if !ok {
		return redacted
	}
	// Either the password has a '?', or the '@' belongs to the value of a
	// parameter such as password=…: what follows the '@' may be secret.
	if strings.Contains(parts.login, "?") {
		return parts.scheme + mask
	}
	// Where the '@' was forgotten, the password stands in the port's place.
	if !parts.hasLogin && checkHosts(parts.hosts) != nil {
		return parts.scheme + mask
	}
	return parts.scheme + redactLogin(parts) + parts.hosts + redactDatabase(parts.database) + redactQuery(parts.query)
}

func redactLogin(parts urlParts) string {
	user := parts.user
	if strings.ContainsAny(user, "/#@") {
		user = mask
	}
	switch {
	case !parts.hasLogin:
		return ""
	case len(parts.user) < len(parts.login):
		return user + ":" + mask + "@"
	default:
		return user + "@"
	}
}

func redactDatabase(path string) string {
	if !regexp.MustCompile(`^(/[\w.~%$-]*)?$`).MatchString(path) {
		return "/" + mask
	}
	return path
}

func redactQuery(query string) string {
	if query == "" {
		return ""
	}
	harmless := regexp.MustCompile(`^(sslmode|target_session_attrs|connect_timeout|application_name|host|port|dbname)=[\w.,/-]*$`)
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if !harmless.MatchString(pair) {
			pairs[i] = mask
		}
	}
	return "?" + strings.Join(pairs, "&")
}
