package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/falconer-sec/falconer/functions/reporter"
	"github.com/falconer-sec/falconer/pkg/alerts"
	"github.com/falconer-sec/falconer/pkg/broker"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// evidence is the directory that --keep asks for; the zero value keeps nothing.
type evidence struct{ dir string }

// keepIn makes the directory, "" for none.
func keepIn(dir string) (evidence, error) {
	if dir == "" {
		return evidence{}, nil
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o755)
	}
	return evidence{abs}, err
}

// scan returns a scan's own directory, made on demand; "" when nothing is kept
// or it can't be made.
func (k evidence) scan(id scan.ID) string {
	if k.dir == "" {
		return ""
	}
	dir := filepath.Join(k.dir, string(id))
	if os.MkdirAll(dir, 0o755) != nil {
		return ""
	}
	return dir
}

// save writes each scan's result, its alerts and the events that flowed, beside
// the output that the sandbox left there.
func (k evidence) save(ctx context.Context, n *node, reports []reporter.Report) error {
	if k.dir == "" {
		return nil
	}
	for _, r := range reports {
		if r.Result == nil {
			continue
		}
		id := r.Result.ScanID
		err := errors.Join(
			k.file(id, "result.json", func(w io.Writer) error { return report.JSON(w, *r.Result) }),
			k.file(id, "alerts.jsonl", func(w io.Writer) error {
				lines := json.NewEncoder(w)
				return n.alerts.Read(ctx, alerts.ScanSubject(id), 0, func(e alerts.Entry) error { return lines.Encode(e.Alert) })
			}),
			k.file(id, "events.jsonl", func(w io.Writer) error {
				lines := json.NewEncoder(w)
				for e, err := range n.broker.Events(ctx, broker.Query{Subject: string(id)}) {
					if err := errors.Join(err, lines.Encode(e.Event)); err != nil {
						return err
					}
				}
				return nil
			}))
		if err != nil {
			return fmt.Errorf("keep evidence: %w", err)
		}
	}
	return nil
}

func (k evidence) file(id scan.ID, name string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(k.scan(id), name))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
