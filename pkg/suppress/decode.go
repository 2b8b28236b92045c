package suppress

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/scan"
)

// Decode reads a file. Its error is fault.Invalid and begins with "NAME:LINE: ".
// An empty file, or one of comments, has no suppressions.
func Decode(name string, content []byte) (File, error) {
	f := File{Name: name}
	entries, err := decode(name, content)
	if err != nil {
		return f, fault.New("", fault.Invalid, err)
	}
	f.Entries = entries
	return f, nil
}

func decode(name string, content []byte) ([]scan.Suppression, error) {
	if len(content) > MaxFile {
		return nil, fmt.Errorf("%s:1: the file is larger than %d bytes", name, MaxFile)
	}
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s:1: the file is not UTF-8", name)
	}
	root, err := document(name, content)
	if err != nil || root == nil {
		return nil, err
	}
	r := reader{name: name}
	top := r.mapping(root, "version", "suppressions")
	if v, ok := top["version"]; !ok {
		r.fail(root, "there is no version: this is version 1")
	} else if r.text(v, "version", maxText) != "1" {
		r.fail(v, "version %.20q is not known, only 1 is", v.Value)
	}
	list, ok := top["suppressions"]
	if !ok || r.err != nil || empty(list) {
		return nil, r.err
	}
	if list.Kind != yaml.SequenceNode {
		r.fail(list, "suppressions is not a list")
		return nil, r.err
	}
	var out []scan.Suppression
	for i, n := range list.Content {
		if i == MaxEntries {
			r.fail(n, "more than %d suppressions", MaxEntries)
		}
		out = append(out, r.entry(n))
		if r.err != nil {
			return nil, r.err
		}
	}
	return out, nil
}

// document parses one document without anything that refers or repeats.
func document(name string, content []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(strings.NewReader(string(content)))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, placed(name, err)
	}
	if err := d.Decode(&more); err == nil {
		return nil, fmt.Errorf("%s:%d: a second document", name, max(more.Line, 1))
	} else if !errors.Is(err, io.EOF) {
		return nil, placed(name, err)
	}
	if len(doc.Content) != 1 || empty(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

func empty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

var lineOf = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)`)

// placed puts a parser's error into our form.
func placed(name string, err error) error {
	line, what := "1", "not YAML"
	if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
		if m[1] != "" {
			line = m[1]
		}
		what = printable(m[2])
	}
	return fmt.Errorf("%s:%s: %.200s", name, line, what)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// reader reads nodes and keeps the first error.
type reader struct {
	name string
	err  error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s:%s: "+format, append([]any{r.name, strconv.Itoa(max(n.Line, 1))}, args...)...)
	}
}

// mapping reads a mapping whose keys are all known and stand once.
func (r *reader) mapping(n *yaml.Node, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		r.fail(n, "not a mapping of %s", strings.Join(known, ", "))
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		found := false
		for _, k := range known {
			found = found || key.Kind == yaml.ScalarNode && key.Value == k
		}
		if _, twice := out[key.Value]; twice {
			r.fail(key, "%.60q stands twice", key.Value)
		}
		if !found {
			r.fail(key, "%.60q is none of %s", key.Value, strings.Join(known, ", "))
		}
		if value.Kind == yaml.AliasNode || value.Anchor != "" || key.Anchor != "" {
			r.fail(key, "anchors and aliases are not allowed")
		}
		out[key.Value] = value
	}
	return out
}

// text reads one line of printable text; "" for an absent one.
func (r *reader) text(n *yaml.Node, field string, limit int) string {
	if n == nil {
		return ""
	}
	switch s := n.Value; {
	case n.Kind != yaml.ScalarNode:
		r.fail(n, "%s is not a text", field)
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"), n.Tag == "!!binary":
		r.fail(n, "%s has the tag %.40q", field, n.Tag)
	case len(s) > limit:
		r.fail(n, "%s has %d bytes, at most %d are allowed", field, len(s), limit)
	case strings.TrimSpace(s) == "" || empty(n):
		r.fail(n, "%s is empty", field)
	case strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) >= 0:
		r.fail(n, "%s holds a line break or something else that does not print", field)
	default:
		return strings.TrimSpace(s)
	}
	return ""
}

// entry reads one suppression.
func (r *reader) entry(n *yaml.Node) scan.Suppression {
	m := r.mapping(n, "package", "version", "integrity", "rule", "detail", "root", "owner", "reason", "expires")
	for _, field := range []string{"package", "rule", "owner", "reason", "expires"} {
		if m[field] == nil {
			r.fail(n, "the suppression has no %s", field)
		}
	}
	s := scan.Suppression{Source: r.name, Line: n.Line, Rule: r.text(m["rule"], "rule", maxText), Detail: r.text(m["detail"], "detail", maxDetail),
		Root: r.text(m["root"], "root", maxText), Owner: r.text(m["owner"], "owner", maxText), Reason: r.text(m["reason"], "reason", maxReason),
		Version: r.text(m["version"], "version", maxText), Integrity: r.text(m["integrity"], "integrity", maxText), Expires: r.text(m["expires"], "expires", maxText)}
	pkg := r.text(m["package"], "package", maxText)
	if r.err != nil {
		return s
	}
	if day, err := time.Parse(dateForm, s.Expires); err != nil || day.Format(dateForm) != s.Expires {
		r.fail(m["expires"], "expires %.40q is not a day such as 2026-12-31", s.Expires)
	}
	base, version, err := Canonical(pkg)
	switch {
	case err != nil:
		r.fail(m["package"], "%v", err)
	case version != "" && s.Version != "":
		r.fail(m["version"], "the package has a version already")
	case version != "":
		s.Version = version
	}
	s.Package = base
	switch {
	case r.err != nil:
	case s.Version == "" && s.Integrity == "":
		r.fail(n, "the suppression has neither version nor integrity: say which code was looked at")
	case s.Integrity != "" && !strong(s.Integrity):
		r.fail(m["integrity"], "integrity %.40q is not sha256-, sha384- or sha512- and a digest in base64", s.Integrity)
	case s.Version != "":
		if _, err := rangeOf(base, s.Version); err != nil {
			at := m["version"]
			if at == nil {
				at = m["package"]
			}
			r.fail(at, "version %.80q is no range of this ecosystem: %.120s", s.Version, printable(err.Error()))
		}
	}
	return s
}
