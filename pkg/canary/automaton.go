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
// Transitions are complete (no failure links at run time); accepting states
// have the highest numbers.
type automaton struct {
	next   []uint32 // state<<classBits | class
	accept uint32   // the first accepting state
	hits   []match  // of accepting states, from accept on
}

// match is what an accepting state stands for: a hit of so many letters and
// digits.
type match struct {
	Hit
	size int
}

// compile builds the automaton of all forms of all values' cores.
func compile(values []value) *automaton {
	t := &trie{next: make([]uint32, 1<<classBits), hit: []int32{-1}}
	for _, v := range values {
		for _, core := range v.cores() {
			for _, f := range forms {
				for _, text := range f.write(core) {
					if s := solid(text); len(s) >= minPattern {
						t.add(s, match{Hit{v.name, f.name}, len(s)})
					}
				}
			}
		}
	}
	return t.finish()
}

// trie is an automaton in the making. State 0 is the root; 0 is also "none".
type trie struct {
	next []uint32
	hit  []int32 // index into hits, -1 for none
	hits []match
}

func (t *trie) add(s string, h match) {
	state := uint32(0)
	for i := range len(s) {
		at := state<<classBits | uint32(classes[s[i]])
		if t.next[at] == 0 {
			t.next[at] = uint32(len(t.hit))
			t.hit = append(t.hit, -1)
			t.next = append(t.next, make([]uint32, 1<<classBits)...)
		}
		state = t.next[at]
	}
	if t.hit[state] < 0 {
		t.hit[state] = int32(len(t.hits))
		t.hits = append(t.hits, h)
	}
}

// finish completes the transitions, breadth first, and numbers the states anew.
func (t *trie) finish() *automaton {
	n := len(t.hit)
	fail := make([]uint32, n)
	queue := make([]uint32, 0, n)
	for c := range uint32(1 << classBits) {
		if s := t.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for i := 0; i < len(queue); i++ {
		s := queue[i]
		if t.hit[s] < 0 {
			t.hit[s] = t.hit[fail[s]]
		}
		for c := uint32(1); c < 1<<classBits; c++ {
			at, other := s<<classBits|c, t.next[fail[s]<<classBits|c]
			if child := t.next[at]; child != 0 {
				fail[child] = other
				queue = append(queue, child)
			} else {
				t.next[at] = other
			}
		}
	}
	return t.renumber(queue)
}

// renumber puts states in the order of their depth, so that the ones in use lie
// together, and accepting ones last.
func (t *trie) renumber(order []uint32) *automaton {
	to := make([]uint32, len(t.hit))
	id := uint32(1)
	for _, s := range order {
		if t.hit[s] < 0 {
			to[s] = id
			id++
		}
	}
	a := &automaton{next: make([]uint32, len(t.next)), accept: id}
	for _, s := range order {
		if t.hit[s] >= 0 {
			to[s] = id
			id++
			a.hits = append(a.hits, t.hits[t.hit[s]])
		}
	}
	for s := range t.hit {
		from, at := s<<classBits, to[s]<<classBits
		a.next[at] = to[s] // passed over
		for c := 1; c < 1<<classBits; c++ {
			a.next[int(at)+c] = to[t.next[from+c]]
		}
	}
	return a
}

// scan goes on from state with b. It calls found for each hit, with the index
// behind it in b, until found returns false.
func (a *automaton) scan(state uint32, b []byte, found func(h match, end int) bool) uint32 {
	for i, c := range b {
		state = a.next[state<<classBits|uint32(classes[c])]
		if state >= a.accept && classes[c] != 0 && !found(a.hits[state-a.accept], i+1) {
			return state
		}
	}
	return state
}
