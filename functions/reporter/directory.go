package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/falconer-sec/falconer/pkg/event"
	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/finding"
	"github.com/falconer-sec/falconer/pkg/report"
	"github.com/falconer-sec/falconer/pkg/report/dossier"
	"github.com/falconer-sec/falconer/pkg/report/format"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Directory writes each result to a file, <scan ID>.json, that holds the
// newest revision, and beside it to <scan ID>.<format>.json in each further
// format. A reader never sees half a file. Rejections that belong to a scan
// are left to other sinks: there is no result.
type Directory struct {
	mu      sync.Mutex // between reading a file's revision and replacing it
	dir     string
	formats []format.Format
}

var _ Sink = (*Directory)(nil)

// NewDirectory returns a sink that writes to dir, which must exist.
func NewDirectory(dir string, formats ...format.Format) *Directory {
	return &Directory{dir: dir, formats: formats}
}

// Name implements Sink.
func (*Directory) Name() string { return "directory" }

// Deliver implements Sink.
func (d *Directory) Deliver(_ context.Context, r Report) error {
	if r.Result == nil || event.Extension(r.Event, event.ExtReused) != "" { // told again, maybe as of another commit: the file is there
		return nil
	}
	id, err := scan.ParseID(string(r.Result.ScanID)) // it becomes a file name
	if err != nil {
		return fault.New("write result", fault.Invalid, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return fault.New("write result", fault.Transient, err)
	}
	defer root.Close()
	name := string(id) + ".json"
	if newest(root, name) > r.Result.Revision {
		return nil
	}
	return fault.New("write result", fault.Transient, d.write(root, id, *r.Result))
}

// write replaces the files of a scan; the one that has the revision is last.
func (d *Directory) write(root *os.Root, id scan.ID, r finding.Result) error {
	all := dossier.Make(dossier.Input{Version: dossier.BuildVersion(), Results: []finding.Result{r}})
	for _, f := range d.formats {
		if err := replace(root, fmt.Sprintf("%s.%s.json", id, f.Name), func(w io.Writer) error { return f.Write(w, all) }); err != nil {
			return err
		}
	}
	return replace(root, string(id)+".json", func(w io.Writer) error { return report.JSON(w, r) })
}

// newest returns the revision that a file holds, 0 if it holds none.
func newest(root *os.Root, name string) int {
	b, err := root.ReadFile(name)
	var r struct{ Revision int }
	if err != nil || json.Unmarshal(b, &r) != nil {
		return 0
	}
	return r.Revision
}

// replace writes a file that takes the place of name once it is on disk.
func replace(root *os.Root, name string, write func(io.Writer) error) error {
	tmp := name + ".new"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	return root.Rename(tmp, name)
}
