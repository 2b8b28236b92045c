package seccomp

import "strconv"

// plan is what the launcher is to do. The driver writes it to the launcher's
// standard input.
type plan struct {
	Dir          string   `json:"dir"` // the run's directory, links resolved
	Endpoint     string   `json:"endpoint"`
	Program      string   `json:"program"`
	Argv         []string `json:"argv"`
	Environ      []string `json:"environ"`
	Cwd          string   `json:"cwd"`
	Env          []string `json:"env"`       // variables reported at an exec
	QuietOwn     []string `json:"quiet_own"` // where the package manager itself goes unreported
	RegistryPort uint16   `json:"registry_port"`
	Root         bool     `json:"root"`   // this user can write anywhere
	Driver       int      `json:"driver"` // process ID, not to be signalled

	Processes   int   `json:"processes"`
	MemoryBytes int64 `json:"memory_bytes"`
	FileBytes   int64 `json:"file_bytes"`
	CPUSeconds  int64 `json:"cpu_seconds"`
	CPUs        int   `json:"cpus"`
}

// outcome is what the launcher writes to its descriptor 3 before it ends.
type outcome struct {
	Started bool   `json:"started"` // the program was executed, or tried to be
	Problem string `json:"problem"` // what kept it from starting
	Code    int    `json:"code"`
	Signal  int    `json:"signal"`
	Limit   string `json:"limit"` // the limit that was exceeded
	// Outlived is the number of processes that had to be stopped after the
	// program's own end, Lines the command lines of some.
	Outlived int      `json:"outlived"`
	Lines    []string `json:"lines"`
	Broken   string   `json:"broken"` // why the supervisor had to give up
	Dropped  uint32   `json:"dropped"`
	Left     int      `json:"left"` // processes that could not be ended
	counts
}

func (o *outcome) exited(s waitStatus) {
	o.Code = s.ExitStatus()
	if s.Signaled() {
		o.Signal = int(s.Signal())
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
