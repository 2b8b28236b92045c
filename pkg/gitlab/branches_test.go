package gitlab_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/falconer-sec/falconer/pkg/gitlab"
	"github.com/falconer-sec/falconer/pkg/gitlab/gitlabtest"
)

// Branches come over pages, up to a limit that is told of.
func TestBranches(t *testing.T) {
	lab := gitlabtest.New("glpat-test-token")
	p := lab.Project(15, "mike/diaspora")
	for i := range 130 {
		p.Commit(fmt.Sprintf("refs/heads/b%03d", i), gitlabtest.Tree{"n": fmt.Sprint(i)})
	}
	c, err := gitlab.New(gitlab.Config{URL: lab.Start(t), Token: "glpat-test-token", Wait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]int{1000: 130, 130: 130, 129: 129, 7: 7} {
		list, complete, err := c.Branches(t.Context(), "mike/diaspora", limit)
		if err != nil || len(list) != want || complete != (want == 130) {
			t.Errorf("at most %d: %d branches, complete %v, %v", limit, len(list), complete, err)
		}
	}
	info, err := c.Project(t.Context(), "mike/diaspora")
	if err != nil || info.ID != 15 || info.Path != "mike/diaspora" || info.DefaultBranch != "main" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := c.Project(t.Context(), "gone/project"); !errors.Is(err, gitlab.ErrNotFound) {
		t.Error(err)
	}
	if _, _, err := c.Branches(t.Context(), "gone/project", 1); !errors.Is(err, gitlab.ErrNotFound) {
		t.Error(err)
	}
}
