package canary

// classes maps a byte to its class: 1 to 62 for digits and letters, 0 for what
// the matcher passes over.
var classes = makeClasses()

func makeClasses() (c [256]uint8) {
	for i := range len(base62) {
		c[base62[i]] = uint8(i + 1)
	}
	return c
}

// classBits is the width of a class in the transition table.
const classBits = 6

// automaton is Aho and Corasick's: all patterns are looked for in one pass,
// and where that stands is one number, so that it goes on in the next write.
// States from which several letters lead on, few and mostly near the root, have
// complete rows of transitions; of the others, the one letter that leads on and
// where to fall back is kept.
type automaton struct {
	rows  []uint32 // state<<classBits | class
	links []link   // of states that have no row
	wide  uint32   // how many have one; they have the lowest numbers
	quiet uint32   // states below this one accept nothing
	hits  []int32  // of states from quiet on: index into found, -1 for none
	found []match
}

// link is a state that one letter leads on from.
type link struct {
	child uint32 // 0 for none
	fail  uint32
	class uint8
}

// match is what an accepting state stands for: a hit of so many letters and
// digits.
type match struct {
	Hit
	size int
}

// step follows one class, which is not 0.
func (a *automaton) step(state uint32, class uint8) uint32 {
	for state >= a.wide {
		l := &a.links[state-a.wide]
		if l.class == class {
			return l.child
		}
		state = l.fail
	}
	return a.rows[state<<classBits|uint32(class)]
}

// scan goes on from state with b. It calls found for each hit, with the index
// behind it in b.
func (a *automaton) scan(state uint32, b []byte, found func(h match, end int)) uint32 {
	for i, c := range b {
		class := classes[c]
		if class == 0 {
			continue
		}
		if state = a.step(state, class); state >= a.quiet {
			if h := a.hits[state-a.quiet]; h >= 0 {
				found(a.found[h], i+1)
			}
		}
	}
	return state
}
