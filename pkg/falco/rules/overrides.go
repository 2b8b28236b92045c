package rules

// SensorOverrides is loaded after the shipped rules where our own sensor
// supplies the events. Falco can only guess from ancestors and environment
// which processes are a package's; the sensor knows, at the price of reading
// one flag, and however deep a process hides below its ancestors.
func SensorOverrides() File {
	return File{Name: "sensor overrides", Data: []byte(`
- macro: falconer_lifecycle_process
  condition: (falconer.in_lifecycle = true)
  override:
    condition: replace
`)}
}
