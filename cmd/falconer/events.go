package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/falconer-sec/falconer/pkg/api"
	"github.com/falconer-sec/falconer/pkg/api/client"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
	"github.com/falconer-sec/falconer/pkg/secret"
)

// serverFlags say which server to ask.
type serverFlags struct{ server string }

func (f *serverFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.server, "server", "http://127.0.0.1:8080", "`URL` of the server; FALCONER_API_TOKEN is its token")
}

func (f serverFlags) client(a *app) (*client.Client, error) {
	token, err := secret.Token(a.getenv, "FALCONER_API_TOKEN")
	if err != nil {
		return nil, err
	}
	return client.New(f.server, token, http.DefaultClient), nil
}

func (a *app) eventsCommand() *cobra.Command {
	var server serverFlags
	var q api.Query
	var scanID string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "events",
		Short:   "Show the events that flowed through a server",
		Example: "  falconer events --follow\n  falconer events --scan 124eaa11-56ff-5e99-b681-d6d7561ff137 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := server.client(a)
			if err != nil {
				return err
			}
			return a.events(cmd.Context(), c, q, scanID, asJSON)
		},
	}
	fl := cmd.Flags()
	server.register(fl)
	fl.BoolVarP(&q.Follow, "follow", "f", false, "wait for further events")
	fl.StringVar(&q.Type, "type", "", "only events of this CloudEvents `TYPE`")
	fl.StringVar(&scanID, "scan", "", "only events of the scan with this `ID`")
	fl.IntVarP(&q.Limit, "limit", "n", 0, "at most so many events")
	fl.Uint64Var(&q.After, "after", 0, "only events after this sequence `NUMBER`")
	fl.BoolVar(&asJSON, "json", false, "one JSON object a line, with the event's data")
	return cmd
}

func (a *app) events(ctx context.Context, c *client.Client, q api.Query, scanID string, asJSON bool) error {
	list := func() iter.Seq2[api.Logged, error] { return c.Events(ctx, q) }
	if scanID != "" {
		id, err := scan.ParseID(scanID)
		if err != nil {
			return err
		}
		list = func() iter.Seq2[api.Logged, error] { return c.ScanEvents(ctx, id, q) }
	}
	for e, err := range list() {
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one stops following
		}
		if err != nil {
			return err
		}
		if err := writeEvent(a.io.out, e, asJSON); err != nil {
			return err
		}
	}
	return nil
}

func writeEvent(w io.Writer, e api.Logged, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = w.Write(append(report.Inert(line), '\n'))
		return err
	}
	_, err := fmt.Fprintf(w, "%6d  %s  %-36s %-36s %s\n", e.Seq, e.Time.UTC().Format(time.RFC3339), short(e.Event.Type()), printable(e.Event.Subject()), printable(e.Event.Source()))
	return err
}

// short drops what all our types have in common.
func short(typ string) string {
	return strings.TrimSuffix(strings.TrimPrefix(printable(typ), "dev.falconer."), ".v1")
}

// printable drops what could drive a terminal: anybody may send events.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
