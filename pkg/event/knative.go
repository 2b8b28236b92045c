package event

// Types of events that Knative's own sources make. They are not in Types: their
// data is not Falconer's to describe. A function that one only wakes, or that
// hears one it has no use for, answers success and does nothing.
const (
	// Ping is a PingSource's: it is time to look for what was missed.
	Ping = "dev.knative.sources.ping"

	// An ApiServerSource's, with the object as data. Its extensions kind,
	// apiversion, namespace and name say which object.
	ResourceAdded   = "dev.knative.apiserver.resource.add"
	ResourceUpdated = "dev.knative.apiserver.resource.update"
	ResourceDeleted = "dev.knative.apiserver.resource.delete"

	// The same with a reference to the object as data.
	RefAdded   = "dev.knative.apiserver.ref.add"
	RefUpdated = "dev.knative.apiserver.ref.update"
	RefDeleted = "dev.knative.apiserver.ref.delete"
)
