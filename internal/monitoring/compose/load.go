package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Stack is a compose file with all of its services, also those of profiles.
type Stack struct {
	*types.Project
	// Root is the directory of the file.
	Root string
	doc  document
}

// Load reads a compose file as Docker Compose does, and refuses what it refuses: unknown keys, dependencies on services
// that are not there, bad ports. Neither the environment nor a file .env has a say in it. The error names file and line.
func Load(ctx context.Context, path string, profiles ...string) (*Stack, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	options, err := cli.NewProjectOptions([]string{path}, cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		doc, _ := parse(name, text) // If it cannot be parsed, err says so, too.
		// It may be several lines, of which the first is a heading.
		message := strings.ReplaceAll(strings.ReplaceAll(err.Error(), path, name), "\n", " ")
		return nil, doc.errorf(doc.locate(strings.TrimSpace(message)), "%s", message)
	}
	doc, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	if len(project.Services) == 0 {
		return nil, fmt.Errorf("%s has no services", name)
	}
	return &Stack{Project: project, Root: filepath.Dir(path), doc: doc}, nil
}
