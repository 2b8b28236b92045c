package gitlab_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
)

func TestFileOfABranch(t *testing.T) {
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	main := p.Commit("refs/heads/main", gitlabtest.Tree{"a/b c.yaml": "text", "large": strings.Repeat("x", 101)})
	p.Commit("refs/tags/main", gitlabtest.Tree{"a/b c.yaml": "another's"}) // a tag of the branch's name
	c, err := gitlab.New(gitlab.Config{URL: lab.Start(t), Token: "glpat-test-token", Wait: time.Millisecond, Tries: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	b, err := c.Branch(ctx, "mike/diaspora", "main")
	if err != nil || b.SHA != main {
		t.Fatalf("%+v, %v", b, err)
	}
	if got, err := c.File(ctx, "mike/diaspora", b.SHA, "a/b c.yaml", 100); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := c.File(ctx, "mike/diaspora", b.SHA, "large", 100); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("a large file: %v", err)
	}
	if _, err := c.File(ctx, "mike/diaspora", b.SHA, "none", 100); !errors.Is(err, gitlab.ErrNotFound) {
		t.Errorf("no file: %v", err)
	}
	if _, err := c.Branch(ctx, "mike/diaspora", "none"); !errors.Is(err, gitlab.ErrNotFound) {
		t.Errorf("no branch: %v", err)
	}
}
