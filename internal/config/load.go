package config

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// dotenvName is the file that fills in what the environment does not set.
const dotenvName = ".env"

// Load reads the settings from environ, which has the form of os.Environ, and
// from the files that readFile returns: .env, those named by NAME_FILE
// variables, and DB_SSL_ROOT_CERT. Pass os.Environ() and os.ReadFile.
//
// Its error is an [*Error] with every mistake there is. The Config is complete
// even then, with defaults in place of the mistakes, so that the caller can go
// on looking for more with [Config.CheckDirs]; it must not be run with.
func Load(environ []string, readFile func(name string) ([]byte, error)) (Config, error) {
	l := &loader{readFile: readFile, explicit: make(map[string]given)}
	l.layers = []layer{environLayer(environ), l.dotenvLayer()}

	var cfg Config
	vars := cfg.variables()
	for _, v := range vars {
		if v.Default != "" {
			if err := v.kind.set(v.Default); err != nil {
				// Reached only by a wrong row in the table, which a test finds.
				l.report(v.Name, quote(v.Default), "the default must be "+err.Error())
			}
		}
		value, ok := l.find(v.Name, v.Alias)
		if !ok {
			continue
		}
		if !value.bad {
			if err := v.kind.set(value.text); err != nil {
				l.report(value.name, v.kind.describe(value.text)+value.origin, "must be "+err.Error())
				value.bad = true
			}
		}
		l.explicit[v.Name] = value
	}
	l.relate(&cfg)
	l.complete(&cfg)
	return cfg, asError(l.found)
}

// loader is the state of one Load.
type loader struct {
	readFile func(string) ([]byte, error)
	layers   []layer
	// explicit holds what was found for each variable, right or wrong.
	explicit map[string]given
	found    []Mistake
}

// given is a value and where it comes from.
type given struct {
	name   string // the variable, which may be the alias
	text   string
	origin string // " (from …)" for mistakes; empty for the environment
	bad    bool   // reported already
}

// layer is one source of values; a name that is absent or empty is not set.
type layer map[string]given

func environLayer(environ []string) layer {
	values := make(layer, len(environ))
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		// Of duplicates the first one counts, as it does for getenv.
		if _, dup := values[name]; !dup {
			values[name] = given{name: name, text: text}
		}
	}
	return values
}

func (l *loader) dotenvLayer() layer {
	data, err := l.readFile(dotenvName)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.report(dotenvName, "", "must be readable or absent: "+cause(err))
		}
		return nil
	}
	parsed, mistakes := parseDotenv(string(data))
	l.found = append(l.found, mistakes...)
	values := make(layer, len(parsed))
	for name, v := range parsed {
		values[name] = given{name: name, text: v.text, origin: fmt.Sprintf(" (from %s line %d)", dotenvName, v.line)}
	}
	return values
}

func (l *loader) report(name, value, problem string) {
	l.found = append(l.found, Mistake{Name: name, Value: value, Problem: problem})
}

// find looks a variable up, layer by layer: whatever the environment says in
// one of the forms NAME, NAME_FILE, ALIAS and ALIAS_FILE goes before anything
// in .env, or a .env left lying about could weaken a production setting. What
// is set but cannot be read is reported, and returned as bad.
func (l *loader) find(names ...string) (given, bool) {
	for _, values := range l.layers {
		for _, name := range names {
			direct, file := values[name], values[name+"_FILE"]
			switch {
			case name == "" || direct.text == "" && file.text == "":
				continue
			case file.text == "":
				return direct, true
			case direct.text != "":
				l.report(name, "", fmt.Sprintf("must not be set together with %s_FILE", name))
				return given{bad: true}, true
			}
			return l.fromFile(name, file), true
		}
	}
	return given{}, false
}

func (l *loader) fromFile(name string, file given) given {
	data, err := l.readFile(file.text)
	if err != nil {
		l.report(file.name, quote(file.text)+file.origin, "must be a file that can be read: "+cause(err))
		return given{bad: true}
	}
	// Editors and echo end a file with a newline that is not meant.
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		l.report(file.name, quote(file.text)+file.origin, "must be a file with a value in it: it is empty")
		return given{bad: true}
	}
	return given{name: name, text: text, origin: fmt.Sprintf(" (from %s)", quote(file.text))}
}

// relate checks the settings against each other. A default gives way to what
// was set; two that were set must agree.
func (l *loader) relate(cfg *Config) {
	db, down := &cfg.Database, &cfg.Shutdown
	if l.ordered("DB_POOL_MIN", "DB_POOL_MAX", db.PoolMin > db.PoolMax) {
		db.PoolMin = min(db.PoolMin, db.PoolMax)
	}
	if l.ordered("SHUTDOWN_DRAIN_MS", "SHUTDOWN_TIMEOUT_MS", down.Drain > down.Timeout) {
		down.Drain = min(down.Drain, down.Timeout)
	}
	if db.SSLRootCert == "" {
		return
	}
	const cert = "DB_SSL_ROOT_CERT"
	shown := quote(db.SSLRootCert) + l.explicit[cert].origin
	if !db.SSL && !l.explicit["DB_SSL"].bad {
		l.report(cert, shown, "must be left out unless DB_SSL is true")
	}
	data, err := l.readFile(db.SSLRootCert)
	switch {
	case err != nil:
		l.report(cert, shown, "must be a file that can be read: "+cause(err))
	case !x509.NewCertPool().AppendCertsFromPEM(data):
		l.report(cert, shown, "must be a file with a certificate in PEM form")
	}
}

// ordered reports that the variable low, which was set, is above the variable
// high. It returns true where low is only a default, which then gives way.
func (l *loader) ordered(low, high string, wrong bool) bool {
	lower, lowSet := l.explicit[low]
	upper, highSet := l.explicit[high]
	switch {
	case !wrong || lower.bad || upper.bad:
		return false
	case !lowSet:
		return true
	case highSet:
		l.report(lower.name, quote(lower.text)+lower.origin, fmt.Sprintf("must not exceed %s, which is %s", high, upper.text))
	default:
		l.report(lower.name, quote(lower.text)+lower.origin, fmt.Sprintf("must not exceed the default of %s; set that too", high))
	}
	return false
}

// complete deals with what production demands and other deployments make up.
func (l *loader) complete(cfg *Config) {
	_, hasURL := l.explicit["DATABASE_URL"]
	_, hasSecret := l.explicit["TOKEN_SECRET"]
	if cfg.Env == Production {
		const problem = "must be set when APP_ENV is production: "
		if !hasURL {
			l.report("DATABASE_URL", "", problem+(&urlKind{}).allowed())
		}
		if !hasSecret {
			l.report("TOKEN_SECRET", "", problem+(&secretKind{min: minTokenSecret}).allowed())
		}
		return
	}
	if !hasSecret {
		cfg.Token.Secret, cfg.Token.SecretGenerated = NewSecret(rand.Text()+rand.Text()), true
	}
}
