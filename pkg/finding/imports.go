package finding

// Imports is what became of loading a project's packages after their install.
type Imports struct {
	Loaded int `json:"loaded"` // packages
	// Failed could not be loaded, which is no fault of theirs as a rule: what
	// they need may not be there. By what the loading process said.
	Failed   []ImportFailure `json:"failed,omitempty"`
	Unlisted int             `json:"unlisted,omitempty"` // failures beyond those
}

// ImportFailure is a package that could not be loaded.
type ImportFailure struct {
	Package
	Reason string `json:"reason,omitempty"` // one word: an error's code or name
}
