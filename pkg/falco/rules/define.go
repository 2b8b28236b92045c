package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/falconer-sec/falconer/pkg/finding"
	"go.yaml.in/yaml/v3"
)

// listDef, macroDef and ruleDef are definitions after overrides. As in Falco,
// order matters: a list or macro sees what was defined before its own last
// change ("seen").
type listDef struct {
	name        string
	pos         Position
	items       []listItem
	index, seen int
}

type listItem struct {
	value  string
	quoted bool
	pos    Position
}

type macroDef struct {
	name        string
	pos         Position
	cond        *text
	index, seen int
}

type ruleDef struct {
	name       string
	pos        Position
	desc       string
	cond       *text
	output     *text
	priority   finding.Priority
	tags       []string
	enabled    bool
	skip       bool // skip-if-unknown-filter
	quiet      bool // warn_evttypes: false
	exceptions []*exception
}

// catalogue collects the definitions of all files.
type catalogue struct {
	lists  map[string]*listDef
	macros map[string]*macroDef
	rules  map[string]*ruleDef
	order  []*ruleDef
	index  int
	notes  []Note
}

var (
	listName   = regexp.MustCompile(`^[^()"'\s=,]+$`)
	macroName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
	bareItem   = regexp.MustCompile(`^[^()"'=,]*$`)
	quotedItem = regexp.MustCompile(`^("[^"]*"|'[^']*')$`)
)

func (c *catalogue) add(it *item) error {
	c.index++
	switch it.kind {
	case "list":
		return c.addList(it)
	case "macro":
		return c.addMacro(it)
	case "rule":
		return c.addRule(it)
	case "required_engine_version":
		return checkEngine(it)
	}
	c.note(it.file.at(it.node), "required_plugin_versions is ignored: there are no plugins")
	return nil
}

func (c *catalogue) note(pos Position, format string, args ...any) {
	n := Note{pos, fmt.Sprintf(format, args...)}
	if !slices.Contains(c.notes, n) && len(c.notes) < MaxItems {
		c.notes = append(c.notes, n)
	}
}

// checkEngine refuses rules that need a newer engine than the one we follow.
func checkEngine(it *item) error {
	var major, minor, patch int
	if n, err := fmt.Sscanf(it.name, "%d.%d.%d", &major, &minor, &patch); err != nil || n != 3 {
		major = 0
		if n, err := fmt.Sscanf(it.name, "%d", &minor); err != nil || n != 1 || strings.Contains(it.name, ".") {
			return it.file.errorf(it.keys[it.kind], "required_engine_version %.40q is neither a number nor x.y.z", it.name)
		}
	}
	if major > 0 || minor > maxEngineMinor {
		return it.file.errorf(it.keys[it.kind], "the rules need engine %.40s; this one follows 0.%d.0", it.name, maxEngineMinor)
	}
	return nil
}

func redefined(it *item, first Position) error {
	return it.file.errorf(it.node, "%s %q is already defined at %s; change it with override", it.kind, it.name, first)
}

func undefined(it *item) error {
	return it.file.errorf(it.node, "override of %s %q, which is not defined before", it.kind, it.name)
}

func (c *catalogue) addList(it *item) error {
	if !listName.MatchString(it.name) {
		return it.file.errorf(it.keys["list"], "list name %.40q contains blanks, quotes, parentheses, '=' or ','", it.name)
	}
	if it.keys["items"] == nil {
		return it.file.errorf(it.node, "list %q lacks the key \"items\"", it.name)
	}
	nodes, err := it.scalars("items")
	if err != nil {
		return err
	}
	items := make([]listItem, 0, len(nodes))
	for _, n := range nodes {
		li, err := newListItem(it.file, n)
		if err != nil {
			return err
		}
		items = append(items, li)
	}
	app, repl, err := it.overrides([]string{"items"}, []string{"items"})
	if err != nil {
		return err
	}
	prev := c.lists[it.name]
	switch {
	case len(app)+len(repl) == 0 && prev != nil:
		return redefined(it, prev.pos)
	case len(app)+len(repl) == 0:
		c.lists[it.name] = &listDef{name: it.name, pos: it.file.at(it.node), items: items, index: c.index, seen: c.index}
		return nil
	case prev == nil:
		return undefined(it)
	case len(app) > 0:
		items = append(prev.items, items...)
	}
	if len(items) > MaxListItems {
		return it.file.errorf(it.node, "list %q has more than %d items", it.name, MaxListItems)
	}
	prev.items, prev.seen = items, c.index
	return nil
}

// newListItem reads an item as the condition's grammar would: bare or quoted.
func newListItem(f *File, n *yaml.Node) (listItem, error) {
	li := listItem{value: n.Value, pos: f.at(n)}
	switch {
	case quotedItem.MatchString(n.Value):
		s, reason := unescape(n.Value[1:len(n.Value)-1], n.Value[0])
		if reason != "" {
			return li, f.errorf(n, "%s", reason)
		}
		li.value, li.quoted = s, true
	case n.Value == "" || strings.IndexByte(n.Value, 0) >= 0 || !bareItem.MatchString(n.Value):
		return li, f.errorf(n, "item %.40q needs quotes inside its YAML quotes, as in '\"a=b\"'", n.Value)
	}
	return li, nil
}

func (c *catalogue) addMacro(it *item) error {
	if !macroName.MatchString(it.name) {
		return it.file.errorf(it.keys["macro"], "macro name %.40q is not letters, digits and '_' after a letter", it.name)
	}
	cond, err := it.text("condition")
	if err != nil {
		return err
	}
	app, repl, err := it.overrides([]string{"condition"}, []string{"condition"})
	if err != nil {
		return err
	}
	prev := c.macros[it.name]
	switch {
	case len(app)+len(repl) == 0 && prev != nil:
		return redefined(it, prev.pos)
	case len(app)+len(repl) == 0:
		c.macros[it.name] = &macroDef{name: it.name, pos: it.file.at(it.node), cond: cond, index: c.index, seen: c.index}
		return nil
	case prev == nil:
		return undefined(it)
	case len(app) > 0:
		cond = prev.cond.add(cond)
	}
	prev.cond, prev.seen = cond, c.index
	return nil
}

var (
	ruleAppendable  = []string{"condition", "output", "desc", "tags", "exceptions"}
	ruleReplaceable = append([]string{"priority", "enabled", "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration"}, ruleAppendable...)
)

func (c *catalogue) addRule(it *item) error {
	app, repl, err := it.overrides(ruleAppendable, ruleReplaceable)
	if err != nil {
		return err
	}
	if src := it.keys["source"]; src != nil && src.Value != "" && src.Value != "syscall" {
		return it.file.errorf(src, "source %.40q is not supplied; only \"syscall\" is", src.Value)
	}
	if it.keys["capture"] != nil {
		c.note(it.file.at(it.node), "rule %q: capture is ignored", it.name)
	}
	prev := c.rules[it.name]
	if len(app)+len(repl) > 0 {
		if prev == nil {
			return undefined(it)
		}
		next := *prev
		for _, key := range repl {
			if err := next.set(it, key, false); err != nil {
				return err
			}
		}
		for _, key := range app {
			if err := next.set(it, key, true); err != nil {
				return err
			}
		}
		*prev = next
		return nil
	}
	if it.keys["enabled"] != nil && it.keys["condition"] == nil && it.keys["output"] == nil && it.keys["desc"] == nil && it.keys["priority"] == nil {
		if prev == nil {
			return undefined(it)
		}
		return prev.set(it, "enabled", false)
	}
	if prev != nil {
		return redefined(it, prev.pos)
	}
	r := &ruleDef{name: it.name, pos: it.file.at(it.node), enabled: true}
	for _, key := range []string{"condition", "output", "desc", "priority"} {
		if _, err := it.str(key); err != nil {
			return err
		}
	}
	for _, key := range ruleReplaceable {
		if it.keys[key] == nil {
			continue
		}
		if err := r.set(it, key, false); err != nil {
			return err
		}
	}
	c.rules[it.name] = r
	c.order = append(c.order, r)
	return nil
}

// set takes one key of an item over into the rule.
func (r *ruleDef) set(it *item, key string, add bool) (err error) {
	switch key {
	case "condition", "output":
		to := &r.cond
		if key == "output" {
			to = &r.output
		}
		t, err := it.text(key)
		if err != nil {
			return err
		}
		if add {
			t = (*to).add(t)
		}
		*to = t
	case "desc":
		desc, err := it.str(key)
		if err != nil {
			return err
		}
		if add {
			desc = r.desc + " " + desc
		}
		r.desc = desc
	case "priority":
		s, err := it.str(key)
		if err != nil {
			return err
		}
		if r.priority, err = finding.ParsePriority(s); err != nil {
			return it.file.errorf(it.keys[key], "%s", err)
		}
	case "tags":
		nodes, err := it.scalars(key)
		if err != nil {
			return err
		}
		var tags []string
		if add {
			tags = slices.Clone(r.tags)
		}
		for _, n := range nodes {
			if !slices.Contains(tags, n.Value) {
				tags = append(tags, n.Value)
			}
		}
		r.tags = tags
	case "exceptions":
		r.exceptions, err = readExceptions(it, r.exceptions, add)
	case "enabled":
		r.enabled, err = it.flag(key, true)
	case "skip-if-unknown-filter":
		r.skip, err = it.flag(key, false)
	case "warn_evttypes":
		warn, e := it.flag(key, true)
		r.quiet, err = !warn, e
	}
	return err
}
