package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/pkg/api/packagehunter"
	"github.com/falconer-sec/falconer/pkg/users"
)

func (a *app) userCommand() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "user NAME",
		Short: "Make a user of Package Hunter's interface",
		Long: "User makes a password and writes the line for the file that " + packagehunter.UsersVariable + "_FILE names to standard output. The\n" +
			"password itself is written once, to standard error; the line holds a digest of it only.",
		Example: "  falconer user ci >> /etc/falconer/users\n  falconer user ci --password-stdin < password >> /etc/falconer/users",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.user(args[0], stdin) },
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "take the password from the first line of standard input instead of making one")
	return cmd
}

func (a *app) user(name string, stdin bool) error {
	var password string
	if stdin {
		line, err := bufio.NewReader(io.LimitReader(a.io.in, users.MaxPassword+2)).ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		password = strings.TrimRight(line, "\r\n")
	} else {
		secret := make([]byte, 24)
		_, _ = rand.Read(secret) // never fails
		password = base64.RawURLEncoding.EncodeToString(secret)
	}
	line, err := users.Hash(name, password, users.Iterations, rand.Reader)
	if err != nil {
		return err
	}
	if !stdin {
		fmt.Fprintf(a.io.err, "the password of %s, shown this once: %s\n", name, password)
	}
	_, err = fmt.Fprintln(a.io.out, line)
	return err
}
