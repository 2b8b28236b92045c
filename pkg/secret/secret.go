// Package secret reads secrets from where a process is given them: an
// environment variable, or a file that a variable of the same name with _FILE
// names, as a cluster mounts it.
//
// Guarantees: a secret that was configured is read or is an error, never
// silently none; errors name the variable or file and never hold the secret.
package secret

import (
	"fmt"
	"os"
	"strings"
)

// MinToken is the least length of a token that is worth the name, in bytes.
const MinToken = 8

// Tokens reads the environment variable name, or the file that name_FILE names:
// one token, or several separated by white space, so that one can be replaced
// without a gap. It returns none if neither variable is set. A token that is too
// short is an error, and so is an empty file.
func Tokens(getenv func(string) string, name string) ([]string, error) {
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
		if len(t) < MinToken {
			return nil, fmt.Errorf("%s holds a token of %d bytes: use at least %d", name, len(t), MinToken)
		}
	}
	return all, nil
}

// Token is the first of Tokens, the one to send; "" if there is none.
func Token(getenv func(string) string, name string) (string, error) {
	all, err := Tokens(getenv, name)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}
