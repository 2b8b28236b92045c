package pnpm

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// What reading a file may cost: the YAML decoder compares each key of a mapping
// with each other one, so that n keys take n*n. A node takes nodeWork, each time
// that an alias repeats it.
const (
	lockfileWork  = 1_000_000_000 // some 30,000 packages, about a second
	workspaceWork = 10_000_000
	nodeWork      = 100
	maxNesting    = 100
)

// decode reads the one YAML document of a file that pnpm itself writes, or that
// people write for it. What costs more than work is fault.TooLarge; further
// documents are fault.Invalid: which one pnpm goes by depends on its version.
func decode(raw []byte, work int, into any) error {
	documents := yaml.NewDecoder(bytes.NewReader(raw))
	var first yaml.Node
	if err := documents.Decode(&first); errors.Is(err, io.EOF) {
		return nil // nothing, as pnpm reads it
	} else if err != nil {
		return fault.New("", fault.Invalid, err)
	}
	if err := documents.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fault.Errorf(fault.Invalid, "more than one document")
	}
	if err := weigh(&first, &work, 0); err != nil {
		return err
	}
	if err := first.Decode(into); err != nil {
		return fault.New("", fault.Invalid, err)
	}
	return nil
}

// weigh takes what decoding n costs from work.
func weigh(n *yaml.Node, work *int, nesting int) error {
	*work -= nodeWork
	if n.Kind == yaml.MappingNode {
		*work -= (len(n.Content) / 2) * (len(n.Content) / 2)
	}
	if *work < 0 || nesting > maxNesting {
		return fault.Errorf(fault.TooLarge, "line %d: too many keys, or too deep", n.Line)
	}
	if n.Kind == yaml.AliasNode {
		return weigh(n.Alias, work, nesting+1)
	}
	for _, c := range n.Content {
		if err := weigh(c, work, nesting+1); err != nil {
			return err
		}
	}
	return nil
}
