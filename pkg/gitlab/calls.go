package gitlab

import (
	"io"
	"net/http"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

// The calls that we make, as GitLab's client module has them, by its services.
type (
	branches        struct{ api *api }
	commits         struct{ api *api }
	discussions     struct{ api *api }
	mergeRequests   struct{ api *api }
	pipelines       struct{ api *api }
	projects        struct{ api *api }
	repositories    struct{ api *api }
	repositoryFiles struct{ api *api }
	users           struct{ api *api }
)

// option is what is done to a request before it is sent.
type option = gitlab.RequestOptionFunc

func (s branches) ListBranches(project string, opt *gitlab.ListBranchesOptions, options ...option) ([]*gitlab.Branch, *gitlab.Response, error) {
	return call[[]*gitlab.Branch](s.api, http.MethodGet, in(project, "/repository/branches"), opt, options)
}

func (s commits) SetCommitStatus(project, sha string, opt *gitlab.SetCommitStatusOptions, options ...option) (*gitlab.CommitStatus, *gitlab.Response, error) {
	return call[*gitlab.CommitStatus](s.api, http.MethodPost, in(project, "/statuses/%s", sha), opt, options)
}

func (s commits) GetCommitStatuses(project, sha string, opt *gitlab.GetCommitStatusesOptions, options ...option) ([]*gitlab.CommitStatus, *gitlab.Response, error) {
	return call[[]*gitlab.CommitStatus](s.api, http.MethodGet, in(project, "/repository/commits/%s/statuses", sha), opt, options)
}

func (s commits) ListMergeRequestsByCommit(project, sha string, options ...option) ([]*gitlab.BasicMergeRequest, *gitlab.Response, error) {
	return call[[]*gitlab.BasicMergeRequest](s.api, http.MethodGet, in(project, "/repository/commits/%s/merge_requests", sha), nil, options)
}

func (s discussions) ListMergeRequestDiscussions(project string, mr int64, opt *gitlab.ListMergeRequestDiscussionsOptions, options ...option) ([]*gitlab.Discussion, *gitlab.Response, error) {
	return call[[]*gitlab.Discussion](s.api, http.MethodGet, in(project, "/merge_requests/%d/discussions", mr), opt, options)
}

func (s discussions) CreateMergeRequestDiscussion(project string, mr int64, opt *gitlab.CreateMergeRequestDiscussionOptions, options ...option) (*gitlab.Discussion, *gitlab.Response, error) {
	return call[*gitlab.Discussion](s.api, http.MethodPost, in(project, "/merge_requests/%d/discussions", mr), opt, options)
}

func (s discussions) ResolveMergeRequestDiscussion(project string, mr int64, id string, opt *gitlab.ResolveMergeRequestDiscussionOptions, options ...option) (*gitlab.Discussion, *gitlab.Response, error) {
	return call[*gitlab.Discussion](s.api, http.MethodPut, in(project, "/merge_requests/%d/discussions/%s", mr, id), opt, options)
}

func (s discussions) UpdateMergeRequestDiscussionNote(project string, mr int64, id string, note int64, opt *gitlab.UpdateMergeRequestDiscussionNoteOptions, options ...option) (*gitlab.Note, *gitlab.Response, error) {
	return call[*gitlab.Note](s.api, http.MethodPut, in(project, "/merge_requests/%d/discussions/%s/notes/%d", mr, id, note), opt, options)
}

func (s discussions) DeleteMergeRequestDiscussionNote(project string, mr int64, id string, note int64, options ...option) (*gitlab.Response, error) {
	req, err := s.api.NewRequest(http.MethodDelete, in(project, "/merge_requests/%d/discussions/%s/notes/%d", mr, id, note), nil, options)
	if err != nil {
		return nil, err
	}
	return s.api.Do(req, nil)
}

func (s mergeRequests) GetMergeRequestCommits(project string, mr int64, opt *gitlab.GetMergeRequestCommitsOptions, options ...option) ([]*gitlab.Commit, *gitlab.Response, error) {
	return call[[]*gitlab.Commit](s.api, http.MethodGet, in(project, "/merge_requests/%d/commits", mr), opt, options)
}

func (s pipelines) ListProjectPipelines(project string, opt *gitlab.ListProjectPipelinesOptions, options ...option) ([]*gitlab.PipelineInfo, *gitlab.Response, error) {
	return call[[]*gitlab.PipelineInfo](s.api, http.MethodGet, in(project, "/pipelines"), opt, options)
}

func (s projects) GetProject(project string, opt *gitlab.GetProjectOptions, options ...option) (*gitlab.Project, *gitlab.Response, error) {
	return call[*gitlab.Project](s.api, http.MethodGet, in(project, ""), opt, options)
}

func (s repositories) StreamArchive(project string, w io.Writer, opt *gitlab.ArchiveOptions, options ...option) (*gitlab.Response, error) {
	req, err := s.api.NewRequest(http.MethodGet, in(project, "/repository/archive")+"."+*opt.Format, opt, options)
	if err != nil {
		return nil, err
	}
	return s.api.Do(req, w)
}

// GetFileMetaData returns the file's digest alone.
func (s repositoryFiles) GetFileMetaData(project, path string, opt *gitlab.GetFileMetaDataOptions, options ...option) (*gitlab.File, *gitlab.Response, error) {
	req, err := s.api.NewRequest(http.MethodHead, in(project, "/repository/files/%s", path), opt, options)
	if err != nil {
		return nil, nil, err
	}
	resp, err := s.api.Do(req, nil)
	if err != nil {
		return nil, resp, err
	}
	return &gitlab.File{SHA256: resp.Header.Get("X-Gitlab-Content-Sha256")}, resp, nil
}

func (s users) CurrentUser(options ...option) (*gitlab.User, *gitlab.Response, error) {
	return call[*gitlab.User](s.api, http.MethodGet, "user", nil, options)
}
