package gitlabreport

// The types below are GitLab's dependency scanning report, schema 15.2.1, as
// far as it is used. Fields without omitempty are required by the schema.

// Version is the schema's version.
const Version = "15.2.1"

// Report is the document.
type Report struct {
	Version         string          `json:"version"`
	Vulnerabilities []Vulnerability `json:"vulnerabilities"`
	Scan            Scan            `json:"scan"`
}

// Scan describes the run.
type Scan struct {
	Analyzer  Tool      `json:"analyzer"`
	Scanner   Tool      `json:"scanner"`
	Type      string    `json:"type"`
	StartTime string    `json:"start_time"` // yyyy-mm-ddThh:mm:ss, UTC without saying so
	EndTime   string    `json:"end_time"`
	Status    string    `json:"status"` // "success" or "failure"
	Messages  []Message `json:"messages,omitempty"`
	Options   []Option  `json:"options,omitempty"`
}

// Tool names the analyzer or the scanner.
type Tool struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	URL     string `json:"url,omitempty"`
	Version string `json:"version"`
	Vendor  Vendor `json:"vendor"`
}

// Vendor names who makes a tool.
type Vendor struct {
	Name string `json:"name"`
}

// Message tells the user something about the run.
type Message struct {
	Level string `json:"level"` // "info", "warn" or "fatal"
	Value string `json:"value"`
}

// Option is a setting that the scan ran with.
type Option struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source,omitempty"`
}

// Vulnerability is one issue.
type Vulnerability struct {
	ID          string           `json:"id"`
	Name        string           `json:"name,omitempty"`
	Description string           `json:"description,omitempty"` // GitLab Flavored Markdown
	Severity    string           `json:"severity,omitempty"`
	Solution    string           `json:"solution,omitempty"`
	Identifiers []Identifier     `json:"identifiers"`
	Location    Location         `json:"location"`
	Details     map[string]Field `json:"details,omitempty"`
	Flags       []Flag           `json:"flags,omitempty"`
}

// Flag is what GitLab shows beside a vulnerability, and policies can ask for.
type Flag struct {
	Type        string `json:"type"` // "flagged-as-likely-false-positive"
	Origin      string `json:"origin"`
	Description string `json:"description"`
}

// Identifier names what was found. GitLab recognises a vulnerability by the
// first one, with the location.
type Identifier struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
	URL   string `json:"url,omitempty"`
}

// Location is where the dependency is declared.
type Location struct {
	File       string     `json:"file"`
	Dependency Dependency `json:"dependency"`
}

// Dependency is the package.
type Dependency struct {
	Package PackageName `json:"package"`
	Version string      `json:"version"`
}

// PackageName wraps a name, as the schema has it.
type PackageName struct {
	Name string `json:"name"`
}

// Field is a named detail. Value is a string for the types "text", "value" and
// "code"; Items is for "list".
type Field struct {
	Name  string  `json:"name,omitempty"` // required of a field, absent from an item
	Type  string  `json:"type"`
	Value *string `json:"value,omitempty"`
	Items []Field `json:"items,omitempty"`
}
