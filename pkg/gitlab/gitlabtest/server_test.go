package gitlabtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
)

const token = "glpat-test"

// do sends a request and returns status and body.
func do(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

func TestTokens(t *testing.T) {
	s := gitlabtest.New(token)
	s.Reader("glpat-reader")
	s.Project(1, "a/b").Commit("refs/heads/main", gitlabtest.Tree{"x": "1"})
	base := s.Start(t) + "/api/v4/projects/a%2Fb"
	for name, tt := range map[string]struct {
		method, token string
		want          int
	}{
		"right":         {"GET", token, 200},
		"none":          {"GET", "", 401},
		"wrong":         {"GET", "glpat-other", 401},
		"reader reads":  {"GET", "glpat-reader", 200},
		"reader writes": {"POST", "glpat-reader", 403},
	} {
		t.Run(name, func(t *testing.T) {
			path := ""
			if tt.method == "POST" {
				path = "/statuses/main"
			}
			if code, body := do(t, tt.method, base+path, "", "Private-Token", tt.token); code != tt.want {
				t.Errorf("%d %s, want %d", code, body, tt.want)
			}
		})
	}
	if code, _ := do(t, "GET", base, "", "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("a bearer token: %d", code)
	}
}

// What GitLab's own client makes of a project by number and by path, and of
// pages.
func TestRealClient(t *testing.T) {
	s := gitlabtest.New(token)
	p := s.Project(42, "group/sub/app")
	for range 25 {
		p.Commit("refs/heads/main", gitlabtest.Tree{"x": time.Now().String()})
	}
	c, err := gitlab.NewClient(token, gitlab.WithBaseURL(s.Start(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []any{42, "group/sub/app"} {
		got, _, err := c.Projects.GetProject(id, nil)
		if err != nil || got.PathWithNamespace != "group/sub/app" || got.ID != 42 {
			t.Errorf("%v: %+v, %v", id, got, err)
		}
	}
	list, resp, err := c.Commits.ListCommits(42, &gitlab.ListCommitsOptions{ListOptions: gitlab.ListOptions{PerPage: 10, Page: 3}})
	if err != nil || len(list) != 5 || resp.NextPage != 0 || resp.TotalItems != 25 {
		t.Errorf("page 3: %d commits, %+v, %v", len(list), resp, err)
	}
	branch, _, err := c.Branches.GetBranch(42, "main")
	if err != nil || !branch.Default || branch.Commit.ID == "" {
		t.Errorf("branch %+v, %v", branch, err)
	}
	if branches, _, err := c.Branches.ListBranches(42, nil); err != nil || len(branches) != 1 {
		t.Errorf("branches %v, %v", branches, err)
	}
	if _, _, err := c.Projects.GetProject("group/none", nil); err == nil {
		t.Error("a project that does not exist")
	}
}

// Webhooks are read by GitLab's own types.
func TestPayloads(t *testing.T) {
	s := gitlabtest.New(token)
	s.SetURL("https://gitlab.example.com")
	p, fork := s.Project(1, "a/b"), s.Project(2, "c/b")
	first := p.Commit("refs/heads/main", gitlabtest.Tree{"x": "1", "y": "1"})
	second := p.Commit("refs/heads/main", gitlabtest.Tree{"x": "2", "z": "1"})
	d := p.Push("refs/heads/main", first, second)
	parsed, err := gitlab.ParseWebhook(gitlab.EventType(d.Kind), d.Body)
	if err != nil {
		t.Fatal(err)
	}
	push := parsed.(*gitlab.PushEvent)
	if push.After != second || push.ProjectID != 1 || push.Project.PathWithNamespace != "a/b" || push.TotalCommitsCount != 1 || push.Commits[0].Modified[0] != "x" ||
		push.Commits[0].Added[0] != "z" || push.Commits[0].Removed[0] != "y" || push.Project.WebURL != "https://gitlab.example.com/a/b" {
		t.Errorf("push %+v", push)
	}
	if again := p.Push("refs/heads/main", first, second); again.Key != d.Key || again.UUID != d.UUID {
		t.Error("the same push has another key")
	}
	head := fork.Commit("refs/heads/feature", gitlabtest.Tree{"x": "3"})
	mr := p.Open(7, fork, "feature")
	d = p.MergeRequestHook(mr, "update", first)
	if parsed, err = gitlab.ParseWebhook(gitlab.EventType(d.Kind), d.Body); err != nil {
		t.Fatal(err)
	}
	m := parsed.(*gitlab.MergeEvent)
	if a := m.ObjectAttributes; a.IID != 7 || a.LastCommit.ID != head || a.SourceProjectID != 2 || a.TargetProjectID != 1 || a.OldRev != first || a.Action != "update" || m.Project.PathWithNamespace != "a/b" {
		t.Errorf("merge request %+v", a)
	}
	tag := p.TagPush("refs/tags/v1", second, gitlabtest.Zero)
	if parsed, err = gitlab.ParseWebhook(gitlab.EventType(tag.Kind), tag.Body); err != nil || parsed.(*gitlab.TagEvent).After != gitlabtest.Zero {
		t.Errorf("tag %+v, %v", parsed, err)
	}
}

func TestHookSigns(t *testing.T) {
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer srv.Close()
	// The value was computed apart from this program, by openssl.
	h := gitlabtest.Hook{URL: srv.URL, Token: "t", Secret: "whsec_c2VjcmV0", Now: func() time.Time { return time.Unix(1700000000, 0) }}
	if _, err := h.Send(t.Context(), gitlabtest.Delivery{Kind: "Push Hook", Key: "id-1", UUID: "u", Body: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if got.Get("Webhook-Signature") != signature || got.Get("Webhook-Id") != "id-1" || got.Get("Webhook-Timestamp") != "1700000000" || got.Get("X-Gitlab-Token") != "t" ||
		got.Get("Idempotency-Key") != "id-1" || got.Get("X-Gitlab-Event-Uuid") != "u" {
		t.Errorf("header %v", got)
	}
	if err := gitlabtest.Sign(http.Header{}, "secret", "1", time.Now(), nil); err == nil {
		t.Error("a key that is none")
	}
}

// A pod is driven and read over HTTP.
func TestControl(t *testing.T) {
	s := gitlabtest.New(token)
	base := s.Start(t)
	sha := strings.Repeat("a", 40)
	if code, body := do(t, "PUT", base+"/_projects?id=9&path=a/b&ref=refs/heads/main&sha="+sha, "archive"); code != 201 {
		t.Fatalf("upload: %d %s", code, body)
	}
	if code, body := do(t, "POST", base+"/_faults", `{"path":"/archive","times":1,"status":429,"retry_after":1}`); code != 201 {
		t.Fatalf("fault: %d %s", code, body)
	}
	archive := base + "/api/v4/projects/9/repository/archive.tar.gz?sha=" + sha
	if code, _ := do(t, "GET", archive, "", "Private-Token", token); code != 429 {
		t.Errorf("the fault did not strike: %d", code)
	}
	if code, body := do(t, "GET", archive, "", "Private-Token", token); code != 200 || body != "archive" {
		t.Errorf("archive: %d %q", code, body)
	}
	if code, _ := do(t, "POST", base+"/_open?path=a/b&iid=3&branch=main", ""); code != 201 {
		t.Errorf("open: %d", code)
	}
	var hooked []string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hooked = append(hooked, r.Header.Get("X-Gitlab-Event")+" "+r.Header.Get("X-Gitlab-Token"))
	}))
	defer receiver.Close()
	fire := base + "/_fire?path=a/b&token=secret&url=" + url.QueryEscape(receiver.URL)
	for _, more := range []string{"&ref=refs/heads/main&before=" + gitlabtest.Zero + "&after=" + sha, "&iid=3&action=open"} {
		if code, body := do(t, "POST", fire+more, ""); code != 200 || !strings.Contains(body, `"status":200`) {
			t.Errorf("fire %s: %d %s", more, code, body)
		}
	}
	if strings.Join(hooked, ", ") != "Push Hook secret, Merge Request Hook secret" {
		t.Errorf("webhooks %v", hooked)
	}
	_, body := do(t, "GET", base+"/_records", "")
	var records struct{ Calls []gitlabtest.Call }
	if err := json.Unmarshal([]byte(body), &records); err != nil || len(records.Calls) != 2 || !records.Calls[0].Faulty || records.Calls[1].Faulty {
		t.Errorf("records %s, %v", body, err)
	}
	if _, body := do(t, "GET", base+"/_state", ""); !strings.Contains(body, `"a/b"`) || !strings.Contains(body, sha) {
		t.Errorf("state %s", body)
	}
	for _, bad := range []string{"POST /_fire", "PUT /_projects", "POST /_open", "POST /_faults", "GET /_none"} {
		method, path, _ := strings.Cut(bad, " ")
		if code, _ := do(t, method, base+path, ""); code < 400 || code > 404 {
			t.Errorf("%s without anything: %d", bad, code)
		}
	}
}

func TestLoad(t *testing.T) {
	s := gitlabtest.New(token)
	sha := strings.Repeat("b", 40)
	err := s.Load(fstest.MapFS{"g/one/" + sha + ".tar.gz": {Data: []byte("one")}, "g/sub/two.tgz": {Data: []byte("two")}, "README": {}})
	if err != nil {
		t.Fatal(err)
	}
	base := s.Start(t) + "/api/v4/projects/"
	for path, want := range map[string]string{"g%2Fone/repository/archive.tar.gz?sha=" + sha: "one", "1/repository/archive.tar.gz?sha=main": "one",
		"g%2Fsub%2Ftwo/repository/archive.tar.gz?sha=" + sha: "two"} {
		if code, body := do(t, "GET", base+path, "", "Private-Token", token); code != 200 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
}

// What breaks, breaks as ordered, and only as often.
func TestFaults(t *testing.T) {
	s := gitlabtest.New(token)
	p := s.Project(1, "a/b")
	sha := p.Commit("refs/heads/main", gitlabtest.Tree{"x": "1"})
	base := s.Start(t) + "/api/v4/projects/1"
	post := func() int {
		code, _ := do(t, "POST", base+"/statuses/"+sha, `{"state":"pending","ref":"main"}`, "Private-Token", token)
		return code
	}
	s.Break(gitlabtest.Fault{Method: "POST", Drop: true, Times: 1})
	s.Break(gitlabtest.Fault{Method: "POST", Lose: true, Times: 1})
	s.Break(gitlabtest.Fault{Delay: 20 * time.Millisecond})
	if code := post(); code != 0 || len(p.Statuses(sha)) != 0 {
		t.Errorf("dropped: %d, %v", code, p.Statuses(sha))
	}
	if code := post(); code != 0 || len(p.Statuses(sha)) != 1 {
		t.Errorf("lost: %d, %v", code, p.Statuses(sha))
	}
	start := time.Now()
	if code := post(); code != 400 || time.Since(start) < 20*time.Millisecond {
		t.Errorf("pending twice: %d after %v", code, time.Since(start))
	}
	s.Mend()
	if n := len(s.Calls("POST", "/statuses/")); n != 3 {
		t.Errorf("%d calls recorded", n)
	}
}

const signature = "v1,INeKoTJf3oA0gkbf9o9zzhF1HmUVFbZjUB3nz8nalnc="
