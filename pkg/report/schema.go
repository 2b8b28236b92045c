package report

import _ "embed"

//go:embed schema/result.v1.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the JSON that this package
// writes, which is also the data of scan.finished and scan.amended. Its name
// is event.SchemaBase + "result.v1.json".
func Schema() []byte { return append([]byte(nil), schema...) }
