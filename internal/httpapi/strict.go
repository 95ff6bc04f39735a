package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// shape is what strict needs to know of a Go type: the names of a struct's fields, the element of a slice. A text, a
// number or a bool has neither.
type shape struct {
	fields []shapeField
	elem   *shape
}

type shapeField struct {
	name  string
	shape *shape
}

// maxFields is the number of fields of one struct that strict can tell apart.
const maxFields = 64

func shapeOf(t reflect.Type) *shape {
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice:
		return &shape{elem: shapeOf(t.Elem())}
	case reflect.Struct:
		if t.NumField() > maxFields {
			panic("strict JSON: too many fields in " + t.String())
		}
		s := &shape{fields: make([]shapeField, t.NumField())}
		for i := range s.fields {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			s.fields[i] = shapeField{name: name, shape: shapeOf(t.Field(i).Type)}
		}
		return s
	default:
		return &shape{}
	}
}

// strict refuses what encoding/json lets pass: unknown fields, names in another case, fields given twice, and texts that
// it would silently repair (invalid UTF-8, half a surrogate pair) or that PostgreSQL cannot store (NUL). body must have
// been decoded by encoding/json into a value of the shape, so its syntax and its types are known to be right, and its
// nesting is no deeper than the type's.
func strict(body []byte, s *shape) error {
	p := &strictParser{body: body}
	p.space()
	if p.body[p.pos] != '{' {
		return &malformedError{reason: "must be a JSON object"}
	}
	if err := p.value(s); err != nil {
		return err
	}
	return nil
}

type strictParser struct {
	body []byte
	pos  int
}

// within puts a step in front of the field that an error names, on the way out: a right body costs no path.
func (e *malformedError) within(step string) *malformedError {
	if e.field != "" && e.field[0] != '[' {
		step += "."
	}
	e.field = step + e.field
	return e
}

func (p *strictParser) value(s *shape) *malformedError {
	switch p.body[p.pos] {
	case '{':
		return p.object(s)
	case '[':
		return p.array(s)
	case '"':
		_, err := p.text()
		return err
	default: // a number, true, false or null
		for !endsLiteral(p.body[p.pos]) {
			p.pos++
		}
		return nil
	}
}

func endsLiteral(b byte) bool {
	switch b {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	default:
		return false
	}
}

func (p *strictParser) object(s *shape) *malformedError {
	var seen uint64
	for p.open('}') {
		name, err := p.text()
		if err != nil {
			return &malformedError{reason: "has a field whose name " + err.reason}
		}
		i := s.index(name)
		if i < 0 {
			return (&malformedError{reason: "is not a known field"}).within(quoteName(name))
		}
		if seen&(1<<i) != 0 {
			return (&malformedError{reason: "is given twice"}).within(s.fields[i].name)
		}
		seen |= 1 << i
		p.space()
		p.pos++ // the colon
		p.space()
		if err := p.value(s.fields[i].shape); err != nil {
			return err.within(s.fields[i].name)
		}
	}
	return nil
}

func (p *strictParser) array(s *shape) *malformedError {
	for i := 0; p.open(']'); i++ {
		if err := p.value(s.elem); err != nil {
			return err.within("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

// open steps over a bracket or a comma to the next member; false, past the closing bracket, when there is none.
func (p *strictParser) open(closing byte) bool {
	p.space()
	if p.body[p.pos] != closing {
		p.pos++ // the opening bracket or a comma
		p.space()
	}
	if p.body[p.pos] != closing {
		return true
	}
	p.pos++
	return false
}

func (p *strictParser) space() {
	for p.pos < len(p.body) {
		switch p.body[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

// text steps over a string and returns what is between the quotes, escapes as they are.
func (p *strictParser) text() ([]byte, *malformedError) {
	p.pos++
	start := p.pos
	for p.body[p.pos] != '"' {
		if p.body[p.pos] != '\\' {
			p.pos++
			continue
		}
		if p.body[p.pos+1] != 'u' {
			p.pos += len(`\n`)
			continue
		}
		r := p.unicode()
		if utf16.IsSurrogate(r) {
			if p.body[p.pos] != '\\' || p.body[p.pos+1] != 'u' || utf16.DecodeRune(r, p.unicode()) == utf8.RuneError {
				return nil, &malformedError{reason: "must not contain half a surrogate pair"}
			}
		}
		if r == 0 {
			return nil, &malformedError{reason: "must not contain NUL characters"}
		}
	}
	raw := p.body[start:p.pos]
	p.pos++
	if !utf8.Valid(raw) {
		return nil, &malformedError{reason: "must be valid UTF-8"}
	}
	return raw, nil
}

// unicode steps over a \uXXXX.
func (p *strictParser) unicode() rune {
	const length = len(`\uXXXX`)
	var r rune
	for _, digit := range p.body[p.pos+2 : p.pos+length] {
		r <<= 4
		switch {
		case digit <= '9':
			r |= rune(digit - '0')
		default:
			r |= rune(digit|0x20-'a') + 10
		}
	}
	p.pos += length
	return r
}

// index returns which of the fields has the name, or -1.
func (s *shape) index(raw []byte) int {
	if bytes.IndexByte(raw, '\\') >= 0 {
		var name string
		if json.Unmarshal(fmt.Appendf(nil, `"%s"`, raw), &name) != nil {
			return -1
		}
		raw = []byte(name)
	}
	for i := range s.fields {
		if s.fields[i].name == string(raw) {
			return i
		}
	}
	return -1
}

// quoteName makes a name that a client chose fit to be shown.
func quoteName(raw []byte) string {
	const longest = 64
	return strconv.Quote(bounded(string(raw), longest))
}
