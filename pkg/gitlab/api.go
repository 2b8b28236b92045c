package gitlab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-querystring/query"
	"github.com/hashicorp/go-retryablehttp"
	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// api sends requests with the options and answers of GitLab's client module.
// That module's own Client links every call that GitLab has, which are 3 MB of
// a program; here are those that we make (see calls.go).
type api struct {
	base   *url.URL // ends in api/v4/
	token  string
	client *retryablehttp.Client

	Branches        branches
	Commits         commits
	Discussions     discussions
	MergeRequests   mergeRequests
	Pipelines       pipelines
	Projects        projects
	Repositories    repositories
	RepositoryFiles repositoryFiles
	Users           users
}

// newAPI serves the GitLab at base. The client decides about time, redirects
// and repetitions.
func newAPI(base *url.URL, token string, client *retryablehttp.Client) *api {
	a := &api{token: token, client: client}
	at := *base
	at.RawPath, at.RawQuery, at.Fragment = "", "", ""
	if at.Path = strings.TrimSuffix(at.Path, "/") + "/"; !strings.HasSuffix(at.Path, "/api/v4/") {
		at.Path += "api/v4/"
	}
	a.base = &at
	a.Branches, a.Commits, a.Discussions = branches{a}, commits{a}, discussions{a}
	a.MergeRequests, a.Pipelines, a.Projects = mergeRequests{a}, pipelines{a}, projects{a}
	a.Repositories, a.RepositoryFiles, a.Users = repositories{a}, repositoryFiles{a}, users{a}
	return a
}

// NewRequest makes a request. The path is below api/v4, escaped; options are
// its query where it reads, its body where it writes.
func (a *api) NewRequest(method, path string, opt any, options []gitlab.RequestOptionFunc) (*retryablehttp.Request, error) {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	at := *a.base
	at.RawPath, at.Path = a.base.EscapedPath()+path, a.base.Path+plain
	var body any
	switch {
	case opt == nil:
	case method == http.MethodPost || method == http.MethodPut:
		if body, err = json.Marshal(opt); err != nil {
			return nil, err
		}
	default:
		values, err := query.Values(opt)
		if err != nil {
			return nil, err
		}
		at.RawQuery = values.Encode()
	}
	req, err := retryablehttp.NewRequest(method, at.String(), body)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		if err := o(req); err != nil {
			return nil, err
		}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "falconer")
	req.Header.Set("Private-Token", a.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// Do sends a request and reads the answer into v: as it is if v is an
// io.Writer, else from JSON. Nil reads nothing.
func (a *api) Do(req *retryablehttp.Request, v any) (*gitlab.Response, error) {
	got, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, got.Body) // so that the connection can be used again
		_ = got.Body.Close()                 // it was read
	}()
	resp := &gitlab.Response{Response: got}
	resp.NextPage, _ = strconv.ParseInt(got.Header.Get("X-Next-Page"), 10, 64) // 0 on the last
	if err := gitlab.CheckResponse(got); err != nil {
		return resp, err
	}
	switch v := v.(type) {
	case nil:
	case io.Writer:
		_, err = io.Copy(v, got.Body)
	default:
		err = json.NewDecoder(got.Body).Decode(v)
	}
	return resp, err
}

// call makes a request and returns its answer.
func call[T any](a *api, method string, path string, opt any, options []gitlab.RequestOptionFunc) (answer T, resp *gitlab.Response, err error) {
	req, err := a.NewRequest(method, path, opt, options)
	if err != nil {
		return answer, nil, err
	}
	resp, err = a.Do(req, &answer)
	return answer, resp, err
}

// in is a path below a project's.
func in(project, format string, parts ...any) string {
	for i, p := range parts {
		if s, ok := p.(string); ok {
			parts[i] = gitlab.PathEscape(s)
		}
	}
	return "projects/" + gitlab.PathEscape(project) + fmt.Sprintf(format, parts...)
}
