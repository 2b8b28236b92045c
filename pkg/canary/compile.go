package canary

import "slices"

// compile builds the automaton of all forms of all values' cores.
func compile(values []value) *automaton {
	t := &trie{nodes: []node{{hit: -1}}}
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

// trie is an automaton in the making. Node 0 is the root; 0 is also "none".
type trie struct {
	nodes []node
	found []match
}

type node struct {
	child, sibling uint32 // the first child; the parent's next one
	fail           uint32
	hit            int32 // index into found, -1 for none
	class          uint8 // that leads here
}

func (t *trie) next(n uint32, class uint8) uint32 {
	c := t.nodes[n].child
	for c != 0 && t.nodes[c].class != class {
		c = t.nodes[c].sibling
	}
	return c
}

func (t *trie) add(s string, h match) {
	n := uint32(0)
	for i := range len(s) {
		class := classes[s[i]]
		c := t.next(n, class)
		if c == 0 {
			c = uint32(len(t.nodes))
			t.nodes = append(t.nodes, node{class: class, sibling: t.nodes[n].child, hit: -1})
			t.nodes[n].child = c
		}
		n = c
	}
	if t.nodes[n].hit < 0 {
		t.nodes[n].hit = int32(len(t.found))
		t.found = append(t.found, h)
	}
}

// fallBack sets where each node goes if nothing leads on, breadth first, and
// returns the nodes in that order. A node also stands for the hit of the one it
// falls back to.
func (t *trie) fallBack() []uint32 {
	order := make([]uint32, 1, len(t.nodes))
	for i := 0; i < len(order); i++ {
		n := order[i]
		if t.nodes[n].hit < 0 {
			t.nodes[n].hit = t.nodes[t.nodes[n].fail].hit
		}
		for c := t.nodes[n].child; c != 0; c = t.nodes[c].sibling {
			order = append(order, c)
			for f := n; f != 0; {
				f = t.nodes[f].fail
				if to := t.next(f, t.nodes[c].class); to != 0 {
					t.nodes[c].fail = to
					break
				}
			}
		}
	}
	return order
}

// finish numbers the nodes: those with a row first, and of these the ones that
// accept nothing.
func (t *trie) finish() *automaton {
	order := t.fallBack()
	to, place := make([]uint32, len(t.nodes)), uint32(0)
	sorted := make([]uint32, 0, len(order))
	take := func(want func(n node, root bool) bool) uint32 {
		for _, n := range order {
			if want(t.nodes[n], n == 0) {
				to[n] = place
				place++
				sorted = append(sorted, n)
			}
		}
		return place
	}
	broad := func(n node, root bool) bool { return root || n.child != 0 && t.nodes[n.child].sibling != 0 }
	a := &automaton{found: t.found}
	a.quiet = take(func(n node, root bool) bool { return broad(n, root) && n.hit < 0 })
	a.wide = take(func(n node, root bool) bool { return broad(n, root) && n.hit >= 0 })
	take(func(n node, root bool) bool { return !broad(n, root) })
	a.rows, a.links = make([]uint32, a.wide<<classBits), make([]link, len(order)-int(a.wide))
	for s, n := range sorted {
		if uint32(s) >= a.quiet {
			a.hits = append(a.hits, t.nodes[n].hit)
		}
		if uint32(s) >= a.wide {
			l := link{fail: to[t.nodes[n].fail]}
			if c := t.nodes[n].child; c != 0 {
				l.child, l.class = to[c], t.nodes[c].class
			}
			a.links[uint32(s)-a.wide] = l
		}
	}
	wide := slices.Clone(order) // a row is filled from one that is nearer the root
	wide = slices.DeleteFunc(wide, func(n uint32) bool { return to[n] >= a.wide })
	for _, n := range wide {
		for class := uint8(1); class < 1<<classBits; class++ {
			next := uint32(0)
			if c := t.next(n, class); c != 0 {
				next = to[c]
			} else if n != 0 {
				next = a.step(to[t.nodes[n].fail], class)
			}
			a.rows[to[n]<<classBits|uint32(class)] = next
		}
	}
	return a
}
