package config_test

import (
	"testing"
)

// TestDotenv reads one value through a .env file in every way of writing it.
func TestDotenv(t *testing.T) {
	t.Parallel()
	good := []struct{ name, file, want string }{
		{"Plain", "LOG_DIR=/a", "/a"},
		{"Blanks", "  LOG_DIR =  /a b \t\n", "/a b"},
		{"Export", "export LOG_DIR=/a", "/a"},
		{"Windows", "\ufeffLOG_DIR=/a\r\nPORT=1\r\n", "/a"},
		{"Comment", "# one\n\nLOG_DIR=/a          # two # three", "/a"},
		{"CommentAlone", "LOG_DIR= # none", "./logs"},
		{"CommentAtOnce", "LOG_DIR=# none", "./logs"},
		{"HashInside", "LOG_DIR=/a#b", "/a#b"},
		{"Dollar", "LOG_DIR=/a$HOME${HOME}$(x)", "/a$HOME${HOME}$(x)"},
		{"SingleQuotes", `LOG_DIR='/a # \n "b"' # c`, `/a # \n "b"`},
		{"DoubleQuotes", `LOG_DIR="/a # \"b\" \\n" # c`, `/a # "b" \n`},
		{"QuoteInside", `LOG_DIR=/it's`, `/it's`},
		{"Equals", "LOG_DIR=/a=b", "/a=b"},
		{"LastCounts", "LOG_DIR=/a\nLOG_DIR=/b\n", "/b"},
		{"Unknown", "SOMETHING_ELSE=x\nLOG_DIR=/a", "/a"},
	}
	for _, test := range good {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := load(t, nil, map[string]string{".env": test.file}).Log.Dir
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}

	const (
		shape = "must be NAME=value, a comment or blank"
		quote = "TOKEN_SECRET: the closing quote must be on the same line, with nothing but a comment after it"
	)
	bad := []struct{ name, file, want string }{
		{"NoEquals", "\n# c\nsecret words\n", ".env line 3: " + shape},
		{"BadName", "LOG-DIR=/a", ".env line 1: " + shape},
		{"DigitFirst", "1A=b", ".env line 1: " + shape},
		{"NoName", "=secret", ".env line 1: " + shape},
		{"Unterminated", "PORT=1\nTOKEN_SECRET=\"hunter2\n", ".env line 2: " + quote},
		{"Escaped", `TOKEN_SECRET="hunter2\"`, ".env line 1: " + quote},
		{"AfterQuote", "TOKEN_SECRET='hunter2' hunter3", ".env line 1: " + quote},
	}
	for _, test := range bad {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := mistakes(t, nil, map[string]string{".env": test.file}); got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}
