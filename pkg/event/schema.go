package event

import "embed"

//go:embed schemas/*.json
var schemas embed.FS

// Schema returns the JSON Schema (draft 2020-12) of an event type's data; ok
// is false for a type that is not Falconer's. The schemas of scan.finished,
// scan.amended and sandbox.exited refer to the published result's, which
// report.Schema returns; all are siblings under SchemaBase.
func Schema(typ string) (schema []byte, ok bool) {
	b, err := schemas.ReadFile("schemas/" + typ + ".json")
	return b, err == nil
}
