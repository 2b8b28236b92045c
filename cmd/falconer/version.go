package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/pkg/ecosystem/npm"
	"github.com/falconer-sec/falconer/pkg/falco/shipped"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the versions of falconer, its rules and its recipes", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := shipped.Load("")
			if err != nil {
				return err
			}
			fmt.Fprintf(a.io.out, "falconer %s\nrules    %s (%d rules)\nrecipes  %s\ngvisor   %s\n",
				ownVersion(), set.Version(), len(set.Rules()), npm.RecipeVersion, moduleVersion("gvisor.dev/gvisor"))
			return nil
		},
	}
}

func ownVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

// moduleVersion is the version of a module that is built in.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}
