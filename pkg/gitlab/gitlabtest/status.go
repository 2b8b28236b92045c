package gitlabtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Status is a commit status.
type Status struct {
	ID          int64  `json:"id"`
	SHA         string `json:"sha"`
	Ref         string `json:"ref"`
	State       string `json:"status"`
	Name        string `json:"name"`
	TargetURL   string `json:"target_url"`
	Description string `json:"description"`
	PipelineID  int64  `json:"pipeline_id"`
	CreatedAt   string `json:"created_at"`
}

// Pipeline is a pipeline of a commit.
type Pipeline struct {
	ID     int64  `json:"id"`
	SHA    string `json:"sha"`
	Ref    string `json:"ref"`
	Status string `json:"status"`
	Source string `json:"source"`
}

// AddPipeline adds a pipeline that runs for a commit, and returns its number.
func (p *Project) AddPipeline(sha, ref string) int64 {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.addPipeline(sha, ref, "push").ID
}

func (p *Project) addPipeline(sha, ref, source string) *Pipeline {
	p.s.next++
	pipe := &Pipeline{ID: p.s.next, SHA: sha, Ref: ref, Status: "running", Source: source}
	p.pipelines = append(p.pipelines, pipe)
	return pipe
}

// Statuses returns the statuses of a commit, oldest first.
func (p *Project) Statuses(sha string) []Status {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var out []Status
	for _, st := range p.statuses {
		if st.SHA == sha {
			out = append(out, *st)
		}
	}
	return out
}

// longest is how long GitLab lets a status' texts be, in characters.
const longest = 255

// setStatus answers POST statuses/:sha. One name and pipeline have one status;
// the state moves as GitLab's state machine has it.
func (s *Server) setStatus(p *Project, r request, sha string) answer {
	if p.lookup(sha) == nil {
		return refused(http.StatusNotFound, "404 Commit Not Found")
	}
	state, name := r.text("state"), r.text("name")
	if name == "" {
		name = r.text("context")
	}
	if name == "" {
		name = "default"
	}
	switch {
	case !slices.Contains([]string{"pending", "running", "success", "failed", "canceled", "skipped"}, state):
		return answer{status: http.StatusBadRequest, body: map[string]string{"error": "state does not have a valid value"}}
	case len([]rune(name)) > longest, len([]rune(r.text("description"))) > longest:
		return refused(http.StatusBadRequest, "description is too long (maximum is 255 characters)")
	case r.text("ref") == "":
		return refused(http.StatusNotFound, "404 References for commit Not Found")
	}
	pipe := p.pipelineFor(r, sha)
	if pipe == nil {
		return refused(http.StatusNotFound, "404 Pipeline for pipeline_id, sha and ref Not Found")
	}
	for _, st := range p.statuses {
		if st.PipelineID == pipe.ID && st.Name == name {
			if !follows(st.State, state) {
				return refused(http.StatusBadRequest, fmt.Sprintf("Cannot transition status via :%s from :%s", verb[state], st.State))
			}
			st.State, st.TargetURL, st.Description = state, r.text("target_url"), r.text("description")
			return created(*st)
		}
	}
	s.next++
	st := &Status{ID: s.next, SHA: sha, Ref: pipe.Ref, State: state, Name: name, TargetURL: r.text("target_url"), Description: r.text("description"),
		PipelineID: pipe.ID, CreatedAt: s.stamp()}
	p.statuses = append(p.statuses, st)
	return created(*st)
}

// pipelineFor finds the pipeline that a status belongs to: the one named, else
// the newest of commit and ref, else a new one.
func (p *Project) pipelineFor(r request, sha string) *Pipeline {
	id := r.text("pipeline_id")
	var found *Pipeline
	for _, pipe := range p.pipelines {
		if pipe.SHA == sha && (id == strconv.FormatInt(pipe.ID, 10) || id == "" && pipe.Ref == r.text("ref")) {
			found = pipe
		}
	}
	if found == nil && id == "" {
		found = p.addPipeline(sha, r.text("ref"), "external")
	}
	return found
}

var verb = map[string]string{"pending": "enqueue", "running": "run", "success": "success", "failed": "drop", "canceled": "cancel", "skipped": "skip"}

// follows reports whether GitLab lets a status go from one state to another.
func follows(from, to string) bool {
	switch {
	case from == to:
		return false
	case to == "pending":
		return from == "created" || from == "skipped"
	}
	return true
}

func (p *Project) listStatuses(sha string, r request) []Status {
	var out []Status
	for _, st := range slices.Backward(p.statuses) {
		if st.SHA == sha && (r.query.Get("name") == "" || r.query.Get("name") == st.Name) {
			out = append(out, *st)
		}
	}
	return out
}

func (p *Project) listPipelines(r request) []Pipeline {
	var out []Pipeline
	for _, pipe := range slices.Backward(p.pipelines) {
		if (r.query.Get("sha") == "" || pipe.SHA == r.query.Get("sha")) && (r.query.Get("ref") == "" || pipe.Ref == r.query.Get("ref")) {
			out = append(out, *pipe)
		}
	}
	return out
}
