package rules

import _ "embed" // the sensor's rules

//go:embed sensor_rules.yaml
var sensorRules string

// SensorOverrides is loaded after the shipped rules where our own sensor
// supplies the events: what Falco can only guess is replaced by what the sensor
// knows, and rules follow that need its memory.
func SensorOverrides() File { return File{Name: "sensor_rules.yaml", Data: []byte(sensorRules)} }
