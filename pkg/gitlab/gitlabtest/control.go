package gitlabtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// control answers what drives and shows the fake; no token is asked for.
//
//	GET    /_records    the requests, as a list of Call; DELETE forgets them
//	GET    /_state      statuses, merge requests and discussions by project
//	POST   /_faults     a Fault as JSON; DELETE mends all
//	PUT    /_projects?id=&path=&ref=&sha=   the body is the archive (.tar.gz) of a commit, sha="" of any
//	POST   /_open?path=&iid=&branch=        opens a merge request
//	POST   /_fire?path=&ref=&before=&after=&url=&token=&signing_key=   sends a push webhook; with iid= that merge request's (action=)
//	GET    /_healthz    200
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	var a answer
	switch r.Method + " " + r.URL.Path {
	case "GET /_healthz":
		a = ok(map[string]string{"status": "ok"})
	case "GET /_records":
		a = s.records()
	case "DELETE /_records":
		s.Forget()
		a = ok(nil)
	case "GET /_state":
		a = s.state()
	case "POST /_faults":
		a = s.ordered(r)
	case "DELETE /_faults":
		s.Mend()
		a = ok(nil)
	case "PUT /_projects":
		a = s.upload(r)
	case "POST /_open":
		a = s.open(r)
	case "POST /_fire":
		a = s.fire(r)
	default:
		a = refused(http.StatusNotFound, "")
	}
	s.write(w, a)
}

func (s *Server) records() answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok(map[string]any{"calls": append([]Call{}, s.calls...), "more": s.dropped})
}

// state is what became of each project.
func (s *Server) state() answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{}
	for _, p := range s.projects {
		threads := map[string]any{}
		for iid, d := range p.discussions {
			threads[fmt.Sprint(iid)] = d
		}
		out[p.Path] = map[string]any{"id": p.ID, "refs": p.refs, "statuses": p.statuses, "merge_requests": p.requests, "discussions": threads}
	}
	body, err := json.Marshal(out) // while nothing changes
	if err != nil {
		return refused(http.StatusInternalServerError, "")
	}
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, raw: body}
}

func (s *Server) ordered(r *http.Request) answer {
	raw, err := readBody(r)
	var f Fault
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil {
		return refused(http.StatusBadRequest, "the fault can't be read")
	}
	s.Break(f)
	return created(f)
}

func (s *Server) upload(r *http.Request) answer {
	q := r.URL.Query()
	raw, err := readBody(r)
	if err != nil || q.Get("path") == "" || len(raw) == 0 {
		return refused(http.StatusBadRequest, "path= and an archive as body are needed")
	}
	var id int64 = 1
	if _, err := fmt.Sscan(q.Get("id"), &id); err != nil && q.Get("id") != "" {
		return refused(http.StatusBadRequest, "id= is not a number")
	}
	p := s.Project(id, q.Get("path"))
	p.Archive(q.Get("ref"), q.Get("sha"), raw)
	return created(map[string]any{"id": p.ID, "path": p.Path, "bytes": len(raw)})
}

// known finds the project that path= names.
func (s *Server) known(r *http.Request) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(r.URL.Query().Get("path"))
}

func (s *Server) open(r *http.Request) answer {
	p, q := s.known(r), r.URL.Query()
	var iid int64
	if _, err := fmt.Sscan(q.Get("iid"), &iid); err != nil || p == nil {
		return refused(http.StatusBadRequest, "path= of a project and iid= are needed")
	}
	return created(p.Open(iid, p, q.Get("branch")))
}

// fire sends a webhook, in the name of this GitLab.
func (s *Server) fire(r *http.Request) answer {
	p, q := s.known(r), r.URL.Query()
	if p == nil {
		return refused(http.StatusBadRequest, "path= of a project is needed")
	}
	d := p.Push(q.Get("ref"), q.Get("before"), q.Get("after"))
	if q.Get("iid") != "" {
		mr := p.numbered(q.Get("iid"))
		if mr == nil {
			return refused(http.StatusBadRequest, "no such merge request")
		}
		d = p.MergeRequestHook(mr, q.Get("action"), q.Get("before"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	reply, err := Hook{URL: q.Get("url"), Token: q.Get("token"), Secret: q.Get("signing_key")}.Send(ctx, d)
	if err != nil {
		return refused(http.StatusBadGateway, err.Error())
	}
	return ok(reply)
}

func (p *Project) numbered(iid string) *MergeRequest {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, mr := range p.requests {
		if fmt.Sprint(mr.IID) == iid {
			return mr
		}
	}
	return nil
}
