package stage

import (
	"encoding/json"
	"path/filepath"
	"regexp"

	"github.com/falconer-sec/falconer/pkg/canary"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// The variables that a Task is handed over in.
const (
	envSource   = "FALCONER_STAGE_SOURCE"
	envDigest   = "FALCONER_STAGE_DIGEST"
	envRoot     = "FALCONER_STAGE_ROOT"
	envWithhold = "FALCONER_STAGE_WITHHOLD"
)

// Task is what to prepare.
type Task struct {
	Source   string      // address of the source archive; a credential
	Digest   string      // "sha256:<hex>" of the archive
	Root     string      // project root within the source, "." for the top
	Canary   canary.Seed // of the credentials to plant; a secret
	Withhold []string    // files, relative to Root, that the install must not see
}

var validDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Env is the environment that FromEnv reads the task back from.
func (t Task) Env() []string {
	list, err := json.Marshal(t.Withhold)
	if err != nil {
		panic("stage: strings always encode: " + err.Error())
	}
	return []string{envSource + "=" + t.Source, envDigest + "=" + t.Digest, envRoot + "=" + t.Root, canary.SeedEnv + "=" + t.Canary.Hex(), envWithhold + "=" + string(list)}
}

// FromEnv reads a task. The error is fault.Invalid and names the variable.
func FromEnv(getenv func(string) string) (Task, error) {
	t := Task{Source: getenv(envSource), Digest: getenv(envDigest), Root: getenv(envRoot)}
	switch {
	case t.Source == "":
		return t, fault.Errorf(fault.Invalid, "stage: %s is not set", envSource)
	case !validDigest.MatchString(t.Digest):
		return t, fault.Errorf(fault.Invalid, "stage: %s is not a digest", envDigest)
	case !filepath.IsLocal(t.Root):
		return t, fault.Errorf(fault.Invalid, "stage: %s is not a path in the source", envRoot)
	}
	var err error
	if t.Canary, err = canary.ParseSeed(getenv(canary.SeedEnv)); err != nil {
		return t, fault.New("stage: "+canary.SeedEnv, fault.Invalid, err)
	}
	if err := json.Unmarshal([]byte(getenv(envWithhold)), &t.Withhold); err != nil {
		return t, fault.New("stage: "+envWithhold, fault.Invalid, err)
	}
	for _, name := range t.Withhold {
		if !filepath.IsLocal(name) || filepath.Clean(name) == "." {
			return t, fault.Errorf(fault.Invalid, "stage: %s names %.80q, which is not a file", envWithhold, name)
		}
	}
	return t, nil
}
