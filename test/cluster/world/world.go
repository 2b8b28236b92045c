package world

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
	"github.com/falconer-sec/falconer/pkg/registry/registrytest"
	"github.com/falconer-sec/falconer/pkg/telemetry/otlptest"
	"github.com/falconer-sec/falconer/test/corpus"
)

// Config says where Falconer is, and with what it is addressed.
type Config struct {
	HookURL     string // of gitlabhook
	HookToken   string
	GateURL     string // of falcogate
	GateToken   string
	GitLabToken string // that Falconer calls the GitLab with
	GitLabURL   string // at which Falconer reaches the GitLab
	Client      *http.Client
}

// World is the services around Falconer.
type World struct {
	Registry  *registrytest.Registry
	Reports   *Reports
	Collector otlptest.Collector // of traces

	config    Config
	lab       *gitlabtest.Server
	sidekick  *Sidekick
	receivers receivers
	cases     map[string]corpus.Case

	mu       sync.Mutex
	projects map[string]*gitlabtest.Project
	heard    map[string]time.Time // commit and state → when that status came
}

// New makes a world with every case's packages in its registry.
func New(c Config) (*World, error) {
	cases, err := Cases()
	if err != nil {
		return nil, err
	}
	w := &World{Registry: registrytest.New(), Reports: &Reports{}, config: c, cases: cases, lab: gitlabtest.New(c.GitLabToken),
		sidekick: &Sidekick{URL: c.GateURL, Token: c.GateToken, Client: c.Client},
		projects: map[string]*gitlabtest.Project{}, heard: map[string]time.Time{}}
	w.lab.SetURL(c.GitLabURL)
	for _, one := range cases {
		if _, err := one.Publish(w.Registry); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Push asks for a commit of a case's project, and for its webhook.
type Push struct {
	Project string            `json:"project"` // path with namespace; made if there is none
	Case    string            `json:"case"`
	Ref     string            `json:"ref,omitempty"`    // default "refs/heads/main"
	Commit  string            `json:"commit,omitempty"` // the commit's hash, where the caller wants to know it ahead
	Files   map[string]string `json:"files,omitempty"`  // put beside the case's own
	// Persist sends the webhook again until it is taken, as GitLab does for a
	// while.
	Persist bool `json:"persist,omitempty"`
}

// Pushed says how the webhook was answered.
type Pushed struct {
	Commit   string    `json:"commit"`
	Status   int       `json:"status"`
	Answer   string    `json:"answer,omitempty"`
	Sent     time.Time `json:"sent"` // the first time
	Answered time.Time `json:"answered"`
}

// Status is a commit status as Falconer set it.
type Status struct {
	gitlabtest.Status
	Received time.Time `json:"received"` // when this state was set
}

// Handler returns the control API.
func (w *World) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /push", control(w.push))
	mux.HandleFunc("POST /alerts", control(w.sidekick.Send))
	mux.HandleFunc("GET /statuses", w.statuses)
	mux.Handle("/reports", w.Reports)
	mux.HandleFunc("POST /receivers", control(w.receivers.add))
	mux.Handle("/receivers/{id}", &w.receivers)
	mux.HandleFunc("POST /post", control(w.post))
	mux.HandleFunc("GET /spans", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, w.Collector.Spans()) })
	return mux
}

// control reads a request's JSON, acts and answers with JSON.
func control[In, Out any](act func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := act(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, out)
	}
}

// GitLab returns the GitLab, which notes when each status came.
func (w *World) GitLab() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		at := time.Now()
		w.lab.ServeHTTP(rw, r)
		if dir, sha := path.Split(r.URL.Path); r.Method == http.MethodPost && strings.HasSuffix(dir, "/statuses/") {
			w.note(sha, at)
		}
	})
}

// note remembers when a commit's statuses became what they are.
func (w *World) note(sha string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.projects {
		for _, s := range p.Statuses(sha) {
			key := sha + " " + s.Name + " " + s.State
			if _, ok := w.heard[key]; !ok {
				w.heard[key] = at
			}
		}
	}
}

func (w *World) statuses(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []Status{}
	if p := w.projects[r.URL.Query().Get("project")]; p != nil {
		sha := r.URL.Query().Get("commit")
		for _, s := range p.Statuses(sha) {
			out = append(out, Status{s, w.heard[sha+" "+s.Name+" "+s.State]})
		}
	}
	answer(rw, out)
}

// push commits the case's files and sends the webhook.
func (w *World) push(ctx context.Context, p Push) (Pushed, error) {
	c, ok := w.cases[p.Case]
	if !ok {
		return Pushed{}, fmt.Errorf("world: there is no case %q", p.Case)
	}
	if p.Ref == "" {
		p.Ref = "refs/heads/main"
	}
	files, err := c.Project()
	if err != nil {
		return Pushed{}, err
	}
	tree := gitlabtest.Tree{}
	for name, b := range files {
		tree[name] = string(b)
	}
	for name, text := range p.Files {
		tree[name] = text
	}
	project := w.project(p.Project)
	if p.Commit == "" {
		p.Commit = project.Commit(p.Ref, tree)
	} else {
		project.CommitAs(p.Ref, p.Commit, tree)
	}
	return w.send(ctx, project, p)
}

// project returns the project with a path.
func (w *World) project(path string) *gitlabtest.Project {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.projects[path]
	if p == nil {
		p = w.lab.Project(int64(1000+len(w.projects)), path)
		w.projects[path] = p
	}
	return p
}
