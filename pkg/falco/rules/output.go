package rules

import "strings"

// template is a rule's output: literal text and fields in turn.
type template struct {
	parts []part
}

type part struct {
	text string
	name string // of the field, as written; "" for text
	term boundTerm
}

// output parses "text %field text %field[arg]".
func (r *resolver) output(t *text) (*template, error) {
	p := &parser{text: t, s: strings.TrimSpace(t.s)}
	if len(p.s) > MaxOutputBytes {
		return nil, p.at(0).errorf("output is longer than %d bytes", MaxOutputBytes)
	}
	// A leading * asks Falco to print the rest even where values are absent, which is what we always do.
	if strings.HasPrefix(p.s, "*") {
		p.i++
	}
	tpl := &template{}
	for p.i < len(p.s) {
		next := strings.IndexByte(p.rest(), '%')
		if next < 0 {
			next = len(p.rest())
		}
		if next > 0 {
			tpl.parts = append(tpl.parts, part{text: p.s[p.i : p.i+next]})
			p.i += next
			continue
		}
		p.i++
		pt, err := r.outputField(p)
		if err != nil {
			return nil, err
		}
		tpl.parts = append(tpl.parts, pt)
	}
	return tpl, nil
}

// outputField reads the field after a '%'. "%proc.name.ext" is the field
// proc.name and the text ".ext": trailing words that make no field are text.
func (r *resolver) outputField(p *parser) (part, error) {
	start := p.i
	if p.i < len(p.s) && isDigit(p.s[p.i]) {
		return part{}, p.here().errorf("field widths (%%10field) are not supported")
	}
	word := p.word()
	sub := &parser{text: p.text, s: p.s, i: start}
	if p.i >= len(p.s) || p.s[p.i] != '(' {
		name, ok := r.longestField(word)
		if !ok {
			err := p.at(start).errorf("%%%.60s is not a field", word)
			err.unknown = true
			return part{}, err
		}
		if name != word {
			sub.s = p.s[:start+len(name)]
		}
	}
	t, err := sub.term()
	if err != nil {
		return part{}, err
	}
	p.i = sub.i
	b, err := r.bind(t)
	return part{name: p.s[start:p.i], term: b}, err
}

func (r *resolver) longestField(name string) (string, bool) {
	for {
		if _, ok := r.fields.Lookup(name); ok {
			return name, true
		}
		dot := strings.LastIndexByte(name, '.')
		if dot < 0 {
			return "", false
		}
		name = name[:dot]
	}
}

const absent = "<NA>"

// value renders a field for people.
func (pt *part) value(ev Event) string {
	if !pt.term.any {
		v, ok := pt.term.get(ev)
		if !ok {
			return absent
		}
		return clip(v.String())
	}
	var all []string
	size := 0
	for i, n := 1, ev.Ancestors(); i <= n && size <= MaxValueBytes; i++ {
		v, ok := ev.Field(pt.term.ID, pt.term.arg, i)
		if !ok {
			continue
		}
		s := v.String()
		size += len(s) + 1
		all = append(all, s)
	}
	if len(all) == 0 {
		return absent
	}
	return clip(strings.Join(all, " "))
}

// json renders a field for output_fields; an absent one is nil.
func (pt *part) json(ev Event) any {
	if pt.term.any {
		if s := pt.value(ev); s != absent {
			return s
		}
		return nil
	}
	v, ok := pt.term.get(ev)
	if !ok {
		return nil
	}
	if s, isText := v.Any().(string); isText {
		return clip(s)
	}
	return v.Any()
}

func (t *template) render(ev Event) string {
	var b strings.Builder
	for i := range t.parts {
		if t.parts[i].name == "" {
			b.WriteString(t.parts[i].text)
		} else {
			b.WriteString(t.parts[i].value(ev))
		}
	}
	return b.String()
}
