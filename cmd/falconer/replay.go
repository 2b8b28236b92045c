package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/client"
)

func (a *app) replayCommand() *cobra.Command {
	var server serverFlags
	var all, list bool
	cmd := &cobra.Command{
		Use:   "replay [ID ...]",
		Short: "Deliver events again that nobody could handle",
		Long: "Replay delivers dead letters again, each to the subscriber that failed. Without arguments it lists them.\n" +
			"A letter that fails again comes back.",
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := server.client(a)
			if err != nil {
				return err
			}
			if list || !all && len(ids) == 0 {
				return a.letters(cmd.Context(), c)
			}
			return a.replay(cmd.Context(), c, api.Replay{IDs: ids, All: all})
		},
	}
	fl := cmd.Flags()
	server.register(fl)
	fl.BoolVar(&all, "all", false, "replay all dead letters")
	fl.BoolVar(&list, "list", false, "only list them")
	return cmd
}

// maxLetters bounds a listing: it is what the API gives at once.
const maxLetters = 500

func (a *app) letters(ctx context.Context, c *client.Client) error {
	page, err := c.DeadLetters(ctx, maxLetters)
	if err != nil {
		return err
	}
	for _, l := range page.Letters {
		fmt.Fprintf(a.io.out, "%s  %s  %-10s %s of %s\n    %d: %s\n", l.ID, l.At.UTC().Format(time.RFC3339), printable(l.Trigger),
			short(l.Event.Type()), printable(l.Event.Subject()), l.Code, printable(l.Reason))
	}
	more := ""
	if page.More {
		more = ", and there are more"
	}
	fmt.Fprintf(a.io.err, "%d dead letters%s\n", len(page.Letters), more)
	return nil
}

// replay has letters delivered again, all in several requests where there are
// many. One that comes back meanwhile, because it failed again, is not sent a
// second time.
func (a *app) replay(ctx context.Context, c *client.Client, r api.Replay) error {
	sent := map[string]bool{}
	for {
		done, err := c.Replay(ctx, r)
		if err != nil {
			return err
		}
		again := false
		for _, id := range done.Replayed {
			again = again || sent[id]
			sent[id] = true
			fmt.Fprintln(a.io.out, "replayed", printable(id))
		}
		var failed []error
		for id, why := range done.Failed {
			failed = append(failed, fmt.Errorf("%s stays: %s", id, why))
		}
		if len(failed) > 0 || !done.More || again {
			return errors.Join(failed...)
		}
	}
}
