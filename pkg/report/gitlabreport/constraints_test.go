package gitlabreport_test

import (
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"
)

// checker finds where a decoded report breaks schema 15.2.1 of GitLab's
// dependency scanning report. It is written from the schema's constraints, one
// call a constraint, for the parts that a report of ours has; a part that it
// does not know is an error too.
type checker struct{ broken []string }

func (c *checker) errorf(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

// object checks a type, what is required and that nothing unknown is there. What
// is there is not null: the schema allows that nowhere that we write to, and an
// empty list of Go's is null unless somebody takes care.
func (c *checker) object(at string, v any, required, optional []string) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		c.errorf("%s: not an object", at)
		return map[string]any{}
	}
	for _, k := range required {
		if _, ok := m[k]; !ok {
			c.errorf("%s: no %s", at, k)
		}
	}
	for k, v := range m {
		if !slices.Contains(required, k) && !slices.Contains(optional, k) {
			c.errorf("%s: unknown %s", at, k)
		}
		if v == nil {
			c.errorf("%s: %s is null", at, k)
		}
	}
	return m
}

func (c *checker) array(at string, v any, least int) []any {
	if v == nil {
		return nil // absent; required is object's matter
	}
	list, ok := v.([]any)
	if !ok {
		c.errorf("%s: not an array", at)
	}
	if len(list) < least {
		c.errorf("%s: fewer than %d", at, least)
	}
	return list
}

// text checks a string's length in characters; most 0 is no limit.
func (c *checker) text(at string, v any, least, most int) {
	if v == nil {
		return
	}
	s, ok := v.(string)
	if n := utf8.RuneCountInString(s); !ok || n < least || most > 0 && n > most {
		c.errorf("%s: not a string of %d to %d characters", at, least, most)
	}
}

func (c *checker) pattern(at string, v any, pattern string) {
	if s, ok := v.(string); v != nil && (!ok || !regexp.MustCompile(pattern).MatchString(s)) {
		c.errorf("%s: %q does not match %s", at, v, pattern)
	}
}

func (c *checker) oneOf(at string, v any, words ...string) {
	if s, ok := v.(string); v != nil && (!ok || !slices.Contains(words, s)) {
		c.errorf("%s: %v is none of %v", at, v, words)
	}
}

const (
	clockPattern = `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$`
	webPattern   = `^https?://.+`
	linkPattern  = `^(https?|ftp)://.+`
)

// breaks lists where the report breaks the schema.
func breaks(doc any) []string {
	c := &checker{}
	m := c.object("report", doc, []string{"scan", "version", "vulnerabilities"}, []string{"schema"})
	c.pattern("schema", m["schema"], webPattern)
	c.pattern("version", m["version"], `^[0-9]+\.[0-9]+\.[0-9]+$`)
	c.scan(m["scan"])
	for n, v := range c.array("vulnerabilities", m["vulnerabilities"], 0) {
		c.vulnerability(fmt.Sprintf("vulnerabilities[%d]", n), v)
	}
	return c.broken
}

func (c *checker) scan(v any) {
	m := c.object("scan", v, []string{"analyzer", "end_time", "scanner", "start_time", "status", "type"}, []string{"messages", "options"})
	c.pattern("scan.start_time", m["start_time"], clockPattern)
	c.pattern("scan.end_time", m["end_time"], clockPattern)
	c.oneOf("scan.status", m["status"], "success", "failure")
	c.oneOf("scan.type", m["type"], "dependency_scanning")
	c.tool("scan.analyzer", m["analyzer"], webPattern)
	c.tool("scan.scanner", m["scanner"], "")
	for _, v := range c.array("scan.messages", m["messages"], 0) {
		m := c.object("message", v, []string{"level", "value"}, nil)
		c.oneOf("message.level", m["level"], "info", "warn", "fatal")
		c.text("message.value", m["value"], 1, 0)
	}
	for _, v := range c.array("scan.options", m["options"], 0) {
		m := c.object("option", v, []string{"name", "value"}, []string{"source"})
		c.text("option.name", m["name"], 1, 255)
		c.text("option.value", m["value"], 0, 0)
		c.oneOf("option.source", m["source"], "argument", "file", "env_variable", "other")
	}
}

func (c *checker) tool(at string, v any, url string) {
	m := c.object(at, v, []string{"id", "name", "version", "vendor"}, []string{"url"})
	for _, k := range []string{"id", "name", "version"} {
		c.text(at+"."+k, m[k], 1, 0)
	}
	c.pattern(at+".url", m["url"], url)
	c.text(at+".vendor.name", c.object(at+".vendor", m["vendor"], []string{"name"}, nil)["name"], 1, 0)
}

func (c *checker) vulnerability(at string, v any) {
	m := c.object(at, v, []string{"id", "identifiers", "location"}, []string{"name", "description", "severity", "solution", "details"})
	c.text(at+".id", m["id"], 1, 0)
	c.text(at+".name", m["name"], 0, 255)
	c.text(at+".description", m["description"], 0, 1048576)
	c.text(at+".solution", m["solution"], 0, 7000)
	c.oneOf(at+".severity", m["severity"], "Info", "Unknown", "Low", "Medium", "High", "Critical")
	for n, v := range c.array(at+".identifiers", m["identifiers"], 1) {
		at := fmt.Sprintf("%s.identifiers[%d]", at, n)
		m := c.object(at, v, []string{"type", "name", "value"}, []string{"url"})
		for _, k := range []string{"type", "name", "value"} {
			c.text(at+"."+k, m[k], 1, 0)
		}
		c.pattern(at+".url", m["url"], linkPattern)
	}
	l := c.object(at+".location", m["location"], []string{"file", "dependency"}, nil)
	c.text(at+".location.file", l["file"], 1, 0)
	d := c.object(at+".location.dependency", l["dependency"], []string{"package", "version"}, nil)
	c.text(at+".location.dependency.version", d["version"], 0, 0)
	c.text(at+".location.dependency.package.name", c.object(at+".location.dependency.package", d["package"], []string{"name"}, nil)["name"], 0, 0)
	if m["details"] != nil {
		for k, v := range c.object(at+".details", m["details"], nil, keys(m["details"])) {
			c.field(at+".details."+k, v, true)
		}
	}
}

func keys(v any) (all []string) {
	m, _ := v.(map[string]any)
	for k := range m {
		all = append(all, k)
	}
	return all
}

// field checks a typed detail: named in details, nameless in a list.
func (c *checker) field(at string, v any, named bool) {
	required, optional := []string{"type"}, []string{"name", "value", "items"}
	if named {
		required, optional = []string{"type", "name"}, []string{"value", "items"}
	}
	m := c.object(at, v, required, optional)
	c.text(at+".name", m["name"], 1, 0)
	switch m["type"] {
	case "text", "code":
		c.object(at, v, []string{"type", "value"}, []string{"name"})
		c.text(at+".value", m["value"], 0, 0)
	case "list":
		c.object(at, v, []string{"type", "items"}, []string{"name"})
		for n, item := range c.array(at+".items", m["items"], 0) {
			c.field(fmt.Sprintf("%s.items[%d]", at, n), item, false)
		}
	default:
		c.errorf("%s: type %v", at, m["type"])
	}
}
