package gitlabtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// MergeRequest is a merge request.
type MergeRequest struct {
	ID              int64  `json:"id"`
	IID             int64  `json:"iid"`
	State           string `json:"state"` // "opened", "closed", "merged", "locked"
	Title           string `json:"title"`
	SourceBranch    string `json:"source_branch"`
	TargetBranch    string `json:"target_branch"`
	SourceProjectID int64  `json:"source_project_id"`
	TargetProjectID int64  `json:"target_project_id"`
	ProjectID       int64  `json:"project_id"`
	SHA             string `json:"sha"`
	WebURL          string `json:"web_url"`
}

// Discussion is a thread on a merge request.
type Discussion struct {
	ID         string  `json:"id"`
	Individual bool    `json:"individual_note"`
	Notes      []*Note `json:"notes"`
}

// Note is one entry of a thread.
type Note struct {
	ID         int64          `json:"id"`
	Type       string         `json:"type"`
	Body       string         `json:"body"`
	Author     map[string]any `json:"author"`
	System     bool           `json:"system"`
	Resolvable bool           `json:"resolvable"`
	Resolved   bool           `json:"resolved"`
	CreatedAt  string         `json:"created_at"`
	UpdatedAt  string         `json:"updated_at"`
	Edits      int            `json:"-"` // how often it was changed
}

var (
	bot    = map[string]any{"id": 7, "username": "falconer-bot", "name": "Falconer"}
	person = map[string]any{"id": 8, "username": "jsmith", "name": "John Smith"}
)

// maxNote is the longest body GitLab takes, in characters.
const maxNote = 1_000_000

// Open opens a merge request of a branch into main; from is the source project,
// p itself but for a fork.
func (p *Project) Open(iid int64, from *Project, branch string) *MergeRequest {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	c := from.lookup("refs/heads/" + branch)
	mr := &MergeRequest{ID: 1000 + iid, IID: iid, State: "opened", Title: "Change", SourceBranch: branch, TargetBranch: "main",
		SourceProjectID: from.ID, TargetProjectID: p.ID, ProjectID: p.ID, WebURL: p.webURL(p.s.base) + "/-/merge_requests/" + strconv.FormatInt(iid, 10)}
	if c != nil {
		mr.SHA = c.sha
		p.adopt(from, c)
		p.refs[fmt.Sprintf("refs/merge-requests/%d/head", iid)] = c.sha
	}
	p.requests = append(p.requests, mr)
	return mr
}

// adopt takes over a fork's commits, as GitLab does for a merge request.
func (p *Project) adopt(from *Project, c *commit) {
	for ; c != nil && p.commits[c.sha] == nil; c = from.commits[c.parent] {
		p.commits[c.sha] = c
	}
}

// Advance moves a merge request to the newest commit of its branch.
func (p *Project) Advance(mr *MergeRequest, from *Project) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if c := from.lookup("refs/heads/" + mr.SourceBranch); c != nil {
		mr.SHA = c.sha
		p.adopt(from, c)
	}
}

// Discussions returns copies of a merge request's threads, oldest first.
func (p *Project) Discussions(iid int64) []Discussion {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var out []Discussion
	for _, d := range p.discussions[iid] {
		c := Discussion{ID: d.ID, Individual: d.Individual}
		for _, n := range d.Notes {
			note := *n
			c.Notes = append(c.Notes, &note)
		}
		out = append(out, c)
	}
	return out
}

// Say adds a thread by a person.
func (p *Project) Say(iid int64, body string) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.discuss(iid, body, person)
}

func (p *Project) discuss(iid int64, body string, who map[string]any) *Discussion {
	p.s.next++
	d := &Discussion{ID: hash("discussion", p.s.next), Notes: []*Note{p.s.note(body, who)}}
	p.discussions[iid] = append(p.discussions[iid], d)
	return d
}

func (s *Server) note(body string, who map[string]any) *Note {
	s.next++
	return &Note{ID: s.next, Type: "DiscussionNote", Body: body, Author: who, Resolvable: true, CreatedAt: s.stamp(), UpdatedAt: s.stamp()}
}

func (s *Server) stamp() string {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Format(time.RFC3339Nano)
}

// ofCommit lists the merge requests that a commit is part of.
func (p *Project) ofCommit(sha string) []MergeRequest {
	var out []MergeRequest
	for _, mr := range p.requests {
		for c := p.commits[mr.SHA]; c != nil && c.sha != p.refs["refs/heads/"+mr.TargetBranch]; c = p.commits[c.parent] {
			if c.sha == sha {
				out = append(out, *mr)
				break
			}
		}
	}
	return out
}

// mergeRequest answers what is below merge_requests/.
func (s *Server) mergeRequest(p *Project, r request, rest []string) answer {
	if len(rest) == 0 {
		return page(r, p.requests)
	}
	i := slices.IndexFunc(p.requests, func(m *MergeRequest) bool { return strconv.FormatInt(m.IID, 10) == rest[0] })
	if i < 0 {
		return refused(http.StatusNotFound, "404 Not found")
	}
	mr := p.requests[i]
	switch {
	case len(rest) == 1:
		return ok(*mr)
	case rest[1] == "commits" && len(rest) == 2:
		return page(r, p.log(mr.SHA))
	case rest[1] == "discussions":
		return s.discussion(p, r, mr.IID, rest[2:])
	}
	return refused(http.StatusNotFound, "")
}

// discussion answers what is below merge_requests/:iid/discussions.
func (s *Server) discussion(p *Project, r request, iid int64, rest []string) answer {
	if len(rest) == 0 && r.Method == http.MethodPost {
		if a, bad := badBody(r); bad {
			return a
		}
		return created(p.discuss(iid, r.text("body"), bot))
	}
	if len(rest) == 0 {
		return page(r, p.discussions[iid])
	}
	i := slices.IndexFunc(p.discussions[iid], func(d *Discussion) bool { return d.ID == rest[0] })
	if i < 0 {
		return refused(http.StatusNotFound, "404 Discussion Not Found")
	}
	d := p.discussions[iid][i]
	switch {
	case len(rest) == 1 && r.Method == http.MethodPut:
		for _, n := range d.Notes {
			n.Resolved = r.text("resolved") == "true"
		}
		return ok(d)
	case len(rest) == 1:
		return ok(d)
	case rest[1] == "notes" && len(rest) == 2 && r.Method == http.MethodPost:
		if a, bad := badBody(r); bad {
			return a
		}
		d.Notes = append(d.Notes, s.note(r.text("body"), bot))
		return created(d.Notes[len(d.Notes)-1])
	case rest[1] == "notes" && len(rest) == 3:
		return s.changeNote(p, r, iid, i, rest[2])
	}
	return refused(http.StatusNotFound, "")
}

// changeNote edits, resolves or deletes one note.
func (s *Server) changeNote(p *Project, r request, iid int64, thread int, id string) answer {
	d := p.discussions[iid][thread]
	i := slices.IndexFunc(d.Notes, func(n *Note) bool { return strconv.FormatInt(n.ID, 10) == id })
	switch {
	case i < 0:
		return refused(http.StatusNotFound, "404 Note Not Found")
	case r.Method == http.MethodDelete:
		if d.Notes = slices.Delete(d.Notes, i, i+1); len(d.Notes) == 0 {
			p.discussions[iid] = slices.Delete(p.discussions[iid], thread, thread+1)
		}
		return answer{status: http.StatusNoContent}
	case r.Method != http.MethodPut:
		return ok(d.Notes[i])
	}
	n := d.Notes[i]
	if r.text("resolved") != "" {
		n.Resolved = r.text("resolved") == "true"
		return ok(n)
	}
	if a, bad := badBody(r); bad {
		return a
	}
	n.Body, n.UpdatedAt, n.Edits = r.text("body"), s.stamp(), n.Edits+1
	return ok(n)
}

func badBody(r request) (answer, bool) {
	switch n := len([]rune(r.text("body"))); {
	case n == 0:
		return answer{status: http.StatusBadRequest, body: map[string]string{"error": "body is missing"}}, true
	case n > maxNote:
		return refused(http.StatusBadRequest, "400 Bad request - Note is too long (maximum is 1000000 characters)"), true
	}
	return answer{}, false
}
