package rules

// node is a parsed condition, before lists, macros and fields are resolved.
type node interface{ isNode() }

type (
	// junction is "a and b and c" or "a or b or c".
	junction struct {
		and  bool
		kids []node
	}
	negation struct{ kid node }
	// macroRef is a macro's name in a condition.
	macroRef struct {
		at   place
		name string
	}
	// comparison is "field op value"; the unary "field exists" has no right side.
	comparison struct {
		at    place // of the left side
		left  term
		op    string
		opAt  place
		right []literal // literals; several for list operators
		from  *term     // or a field: val(field), transformer(field)
	}
)

func (*junction) isNode()   {}
func (*negation) isNode()   {}
func (*macroRef) isNode()   {}
func (*comparison) isNode() {}

// term is a field with its argument and the transformers around it, innermost
// first.
type term struct {
	at         place
	field      string
	arg        string
	hasArg     bool
	transforms []string
}

// name is the field as written: proc.aname[2].
func (t *term) name() string {
	if t.hasArg {
		return t.field + "[" + t.arg + "]"
	}
	return t.field
}

// literal is a value in a condition. A bare one may be a list's name.
type literal struct {
	at     place
	value  string
	quoted bool
	inList bool // stood where a list is expected without parentheses
}
