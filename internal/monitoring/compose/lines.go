package compose

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a YAML file that can tell where something stands.
type document struct {
	name string
	text string
	root *yaml.Node
}

// parse reads a YAML file. The error names the line.
func parse(name string, text []byte) (document, error) {
	d := document{name: name, text: string(text), root: &yaml.Node{}}
	if err := yaml.Unmarshal(text, d.root); err != nil {
		return d, d.errorf(d.locate(err.Error()), "%w", err)
	}
	return d, nil
}

// line returns the line of the value under the keys, of one that comes with a merge key too. Of keys that are not there, it
// is the line of the last that is.
func (d document) line(keys ...string) int {
	node := d.root
	if node.Kind == yaml.DocumentNode {
		node = node.Content[0]
	}
	line := 1
	for _, key := range keys {
		name, value := child(node, key)
		if value == nil {
			break
		}
		node, line = value, name.Line
	}
	return line
}

// child returns a key of a mapping with its value, or an item of a list, whose key is its number.
func child(node *yaml.Node, key string) (name, value *yaml.Node) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(key); err == nil && i < len(node.Content) {
			return node.Content[i], node.Content[i]
		}
		return nil, nil
	}
	if node.Kind != yaml.MappingNode {
		return nil, nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch node.Content[i].Value {
		case key:
			return node.Content[i], node.Content[i+1]
		case "<<":
			merged = append(merged, node.Content[i+1])
		}
	}
	for _, m := range merged {
		if name, value := child(m, key); value != nil {
			return name, value
		}
	}
	return nil, nil
}

func (d document) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", d.name, line, fmt.Errorf(format, args...))
}

var (
	lineInMessage    = regexp.MustCompile(`\bline (\d+)`)
	pathInMessage    = regexp.MustCompile(`\b(?:services|volumes|secrets)(?:\.[\w-]+|\[[\w-]+\])+`)
	serviceInMessage = regexp.MustCompile(`^service "([\w-]+)"`)
	keyInMessage     = regexp.MustCompile(`properties '([\w-]+)'`)
	portInMessage    = regexp.MustCompile(`hostPort: (\S+)`)
)

// locate returns the line that a message of compose-go or of the YAML parser is about, as far as it tells: by number, else
// by the word that is wrong, in the part of the file that is named.
func (d document) locate(message string) int {
	if all := lineInMessage.FindAllStringSubmatch(message, -1); all != nil {
		n, _ := strconv.Atoi(all[len(all)-1][1]) // It is digits.
		return n
	}
	from := 1
	if path := pathInMessage.FindString(message); path != "" {
		from = d.line(strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) })...)
	} else if m := serviceInMessage.FindStringSubmatch(message); m != nil {
		from = d.line("services", m[1])
	}
	if m := keyInMessage.FindStringSubmatch(message); m != nil {
		return d.find(from, m[1])
	}
	if m := portInMessage.FindStringSubmatch(message); m != nil {
		return d.find(from, ":"+m[1]+":")
	}
	words := strings.Fields(strings.TrimSuffix(message, ": invalid compose project"))
	if len(words) == 0 {
		return from
	}
	return d.find(from, strings.Trim(words[len(words)-1], `"'`))
}

// find returns the first line at or after another that has the word, or that other.
func (d document) find(from int, word string) int {
	for i, text := range strings.Split(d.text, "\n") {
		if i+1 >= from && strings.Contains(text, word) {
			return i + 1
		}
	}
	return from
}
