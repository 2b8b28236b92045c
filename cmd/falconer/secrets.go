package main

import (
	"fmt"
	"os"
	"strings"
)

// minToken is the least length of a token that is worth the name, in bytes.
const minToken = 8

// tokens reads a secret from the environment variable name, or from the file
// that name_FILE names: one token, or several separated by white space, so that
// one can be replaced without a gap. A token that is too short is an error.
func tokens(getenv func(string) string, name string) ([]string, error) {
	text := getenv(name)
	if file := getenv(name + "_FILE"); file != "" {
		if text != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: use one", name, name)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", name, err)
		}
		if text = string(raw); strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("%s_FILE: %s is empty", name, file)
		}
	}
	all := strings.Fields(text)
	for _, t := range all {
		if len(t) < minToken {
			return nil, fmt.Errorf("%s holds a token of %d bytes: use at least %d", name, len(t), minToken)
		}
	}
	return all, nil
}
