package finding

import "encoding/json"

// MarshalJSON writes empty lists as [], never as null, as the schema promises.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	p := plain(r)
	fill(&p.Reasons)
	fill(&p.Incomplete)
	fill(&p.Findings)
	fill(&p.InstallScripts)
	fill(&p.Fetches)
	fill(&p.Excluded)
	return json.Marshal(p)
}

// MarshalJSON writes empty lists as [], never as null.
func (f Finding) MarshalJSON() ([]byte, error) {
	type plain Finding
	p := plain(f)
	fill(&p.Behaviours)
	fill(&p.Evidence)
	return json.Marshal(p)
}

// MarshalJSON writes an empty process chain as [], never as null.
func (e Evidence) MarshalJSON() ([]byte, error) {
	type plain Evidence
	p := plain(e)
	fill(&p.ProcessChain)
	return json.Marshal(p)
}

// fill turns an absent list into an empty one.
func fill[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}
