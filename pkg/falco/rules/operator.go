package rules

import (
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// Which types an operator applies to, as in Falco's flt_is_comparable.
var operators = map[string][]Type{
	"=":          {String, Number, Bool, Addr, Net},
	"==":         {String, Number, Bool, Addr, Net},
	"!=":         {String, Number, Bool, Addr, Net},
	"<":          {Number},
	"<=":         {Number},
	">":          {Number},
	">=":         {Number},
	"in":         {String, Number, Bool, Addr, Net},
	"intersects": {String, Number, Bool, Addr, Net},
	"exists":     {String, Number, Bool, Addr, Net, Time},
	"pmatch":     {String},
	"contains":   {String},
	"icontains":  {String},
	"startswith": {String},
	"endswith":   {String},
	"glob":       {String},
	"iglob":      {String},
	"regex":      {String},
	// Known to Falco, for byte buffers, which no field of ours is.
	"bcontains":   nil,
	"bstartswith": nil,
}

const operatorNames = "=, ==, !=, <, <=, >, >=, in, intersects, pmatch, contains, icontains, startswith, endswith, glob, iglob, regex, exists"

func isListOp(op string) bool  { return op == "in" || op == "intersects" || op == "pmatch" }
func isOrderOp(op string) bool { return op[0] == '<' || op[0] == '>' }

// matcher decides on a present value.
type matcher func(Value) bool

// newMatcher compiles "op values" for a field type. The reason is "" on
// success; which is the index of the value it is about.
func newMatcher(op string, typ Type, values []string) (m matcher, which int, reason string) {
	switch typ {
	case Number:
		return numberMatcher(op, values)
	case Bool:
		return boolMatcher(op, values)
	case Addr, Net:
		return addrMatcher(op, typ, values)
	}
	return stringMatcher(op, values)
}

func numberMatcher(op string, values []string) (matcher, int, string) {
	nums := make([]int64, len(values))
	for i, s := range values {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil || strings.ContainsRune(s, '_') {
			return nil, i, "is not an integer"
		}
		nums[i] = n
	}
	if isListOp(op) {
		return func(v Value) bool { return slices.Contains(nums, v.num) }, 0, ""
	}
	n := nums[0]
	switch op {
	case "!=":
		return func(v Value) bool { return v.num != n }, 0, ""
	case "<":
		return func(v Value) bool { return v.num < n }, 0, ""
	case "<=":
		return func(v Value) bool { return v.num <= n }, 0, ""
	case ">":
		return func(v Value) bool { return v.num > n }, 0, ""
	case ">=":
		return func(v Value) bool { return v.num >= n }, 0, ""
	}
	return func(v Value) bool { return v.num == n }, 0, ""
}

func boolMatcher(op string, values []string) (matcher, int, string) {
	nums := make([]int64, len(values))
	for i, s := range values {
		switch s {
		case "true":
			nums[i] = 1
		case "false":
		default:
			return nil, i, "is neither true nor false"
		}
	}
	want := op != "!="
	return func(v Value) bool { return slices.Contains(nums, v.num) == want }, 0, ""
}

func addrMatcher(op string, typ Type, values []string) (matcher, int, string) {
	want := op != "!="
	if typ == Addr {
		addrs := make([]netip.Addr, len(values))
		for i, s := range values {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				return nil, i, "is not an IP address (networks go with the .snet, .cnet, .lnet and .rnet fields)"
			}
			addrs[i] = a.Unmap()
		}
		return func(v Value) bool { return slices.Contains(addrs, v.addr) == want }, 0, ""
	}
	nets := make([]netip.Prefix, len(values))
	for i, s := range values {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, i, "is not a network in CIDR notation"
		}
		nets[i] = p.Masked()
	}
	return func(v Value) bool {
		in := slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(v.addr) })
		return in == want
	}, 0, ""
}

func stringMatcher(op string, values []string) (matcher, int, string) {
	switch op {
	case "in", "intersects":
		return memberMatcher(values), 0, ""
	case "pmatch":
		return pathMatcher(values)
	}
	want := values[0]
	switch op {
	case "!=":
		return func(v Value) bool { return v.str != want }, 0, ""
	case "contains":
		return func(v Value) bool { return strings.Contains(v.str, want) }, 0, ""
	case "icontains":
		lower := asciiLower(want)
		return func(v Value) bool { return containsFold(v.str, lower) }, 0, ""
	case "startswith":
		return func(v Value) bool { return strings.HasPrefix(v.str, want) }, 0, ""
	case "endswith":
		return func(v Value) bool { return strings.HasSuffix(v.str, want) }, 0, ""
	case "glob", "iglob":
		g, reason := newGlob(want, op == "iglob")
		return func(v Value) bool { return g.match(v.str) }, 0, reason
	case "regex":
		re, reason := newRegex(want)
		return func(v Value) bool { return re.MatchString(v.str) }, 0, reason
	}
	return func(v Value) bool { return v.str == want }, 0, ""
}

func memberMatcher(values []string) matcher {
	if len(values) <= 4 {
		return func(v Value) bool { return slices.Contains(values, v.str) }
	}
	set := make(map[string]struct{}, len(values))
	for _, s := range values {
		set[s] = struct{}{}
	}
	return func(v Value) bool { _, ok := set[v.str]; return ok }
}

// newRegex compiles a POSIX extended pattern that must match the whole value,
// as Falco's RE2 does (posix_syntax, anchored at both ends): no \d, no (?i).
func newRegex(pattern string) (*regexp.Regexp, string) {
	tree, err := syntax.Parse(pattern, syntax.ClassNL)
	if err != nil {
		return nil, "is not a POSIX regular expression: " + err.Error()
	}
	// What POSIX accepts means the same to Go, but for a repeated repetition (a**).
	re, err := regexp.Compile(`\A(?m:` + pattern + `)\z`)
	if err != nil {
		re, err = regexp.Compile(`\A(?:` + tree.String() + `)\z`)
	}
	if err != nil {
		return nil, "is not a regular expression: " + err.Error()
	}
	return re, ""
}

// fieldMatcher compares two present values of one type: field op val(field).
func fieldMatcher(op string) func(l, r Value) bool {
	switch op {
	case "=", "==", "in", "intersects":
		return func(l, r Value) bool { return equal(l, r) }
	case "!=":
		return func(l, r Value) bool { return !equal(l, r) }
	case "<":
		return func(l, r Value) bool { return l.num < r.num }
	case "<=":
		return func(l, r Value) bool { return l.num <= r.num }
	case ">":
		return func(l, r Value) bool { return l.num > r.num }
	case ">=":
		return func(l, r Value) bool { return l.num >= r.num }
	case "contains":
		return func(l, r Value) bool { return strings.Contains(l.str, r.str) }
	case "icontains":
		return func(l, r Value) bool { return containsFold(l.str, asciiLower(r.str)) }
	case "startswith":
		return func(l, r Value) bool { return strings.HasPrefix(l.str, r.str) }
	case "endswith":
		return func(l, r Value) bool { return strings.HasSuffix(l.str, r.str) }
	}
	return nil // pmatch, regex, glob: their right side must be constant
}

func equal(l, r Value) bool { return l.num == r.num && l.str == r.str && l.addr == r.addr }

// mapBytes maps bytes, not runes: values need not be UTF-8.
func mapBytes(s string, f func(byte) byte) string {
	for i := 0; i < len(s); i++ {
		if f(s[i]) != s[i] {
			b := []byte(s)
			for ; i < len(b); i++ {
				b[i] = f(b[i])
			}
			return string(b)
		}
	}
	return s
}

func asciiLower(s string) string { return mapBytes(s, lowerByte) }
func asciiUpper(s string) string { return mapBytes(s, upperByte) }

func upperByte(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// containsFold reports whether s contains lower, ignoring the case of ASCII
// letters, without allocating.
func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		j := 0
		for j < len(lower) && lowerByte(s[i+j]) == lower[j] {
			j++
		}
		if j == len(lower) {
			return true
		}
	}
	return false
}
