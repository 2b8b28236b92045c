package gitlabtest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Push returns the webhook for a ref that moved from one commit to another; Zero
// stands for none.
func (p *Project) Push(ref, before, after string) Delivery {
	return p.pushed("Push Hook", "push", ref, before, after)
}

// TagPush returns the webhook for a tag that was pushed or deleted.
func (p *Project) TagPush(ref, before, after string) Delivery {
	return p.pushed("Tag Push Hook", "tag_push", ref, before, after)
}

func (p *Project) pushed(kind, object, ref, before, after string) Delivery {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var commits []map[string]any
	for c := p.commits[after]; c != nil && c.sha != before && len(commits) < 20; c = p.commits[c.parent] {
		var parent Tree
		if up := p.commits[c.parent]; up != nil {
			parent = up.files
		}
		commits = append(commits, entry(p.webURL(p.s.base), c, parent))
	}
	slices.Reverse(commits)
	var checkout any = after
	if after == Zero {
		checkout = nil
	}
	return p.delivery(kind, hash(p.Path, ref, before, after), map[string]any{
		"object_kind": object, "event_name": object, "before": before, "after": after, "ref": ref, "ref_protected": false, "checkout_sha": checkout,
		"user_id": 8, "user_name": "John Smith", "user_username": "jsmith", "user_email": "john@example.com", "project_id": p.ID,
		"project": p.inHook(), "repository": map[string]any{"name": p.name(), "homepage": p.webURL(p.s.base), "visibility_level": 0},
		"commits": append([]map[string]any{}, commits...), "total_commits_count": len(commits),
	})
}

// entry is a commit as a push lists it.
func entry(base string, c *commit, parent Tree) map[string]any {
	e := map[string]any{"id": c.sha, "message": "change\n", "title": "change", "timestamp": "2026-03-01T12:00:00+00:00", "url": base + "/-/commit/" + c.sha,
		"author": map[string]any{"name": "John Smith", "email": "john@example.com"}}
	added, modified, removed := []string{}, []string{}, []string{}
	for _, d := range differences(parent, c.files) {
		switch {
		case d.New:
			added = append(added, d.NewPath)
		case d.Deleted:
			removed = append(removed, d.OldPath)
		default:
			modified = append(modified, d.NewPath)
		}
	}
	maps.Copy(e, map[string]any{"added": added, "modified": modified, "removed": removed})
	return e
}

// inHook is the project as a webhook describes it.
func (p *Project) inHook() map[string]any {
	d := p.describe(p.s.base)
	delete(d, "path")
	maps.Copy(d, map[string]any{"description": "", "avatar_url": nil, "namespace": "Group", "visibility_level": 0,
		"git_http_url": p.webURL(p.s.base) + ".git", "homepage": p.webURL(p.s.base)})
	return d
}

// MergeRequestHook returns the webhook for a merge request. action is GitLab's:
// "open", "update", "close", "reopen", "merge", "approved"; oldrev is the head
// before an update that brought code, else "".
func (p *Project) MergeRequestHook(mr *MergeRequest, action, oldrev string) Delivery {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	source := p
	for _, other := range p.s.projects {
		if other.ID == mr.SourceProjectID {
			source = other
		}
	}
	attributes := map[string]any{
		"id": mr.ID, "iid": mr.IID, "target_branch": mr.TargetBranch, "source_branch": mr.SourceBranch, "source_project_id": mr.SourceProjectID,
		"target_project_id": mr.TargetProjectID, "author_id": 8, "title": mr.Title, "description": "", "state": mr.State, "action": action,
		"created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z", "merge_status": "unchecked", "url": mr.WebURL,
		"source": source.inHook(), "target": p.inHook(), "draft": false,
		"last_commit": map[string]any{"id": mr.SHA, "message": "change\n", "title": "change", "timestamp": "2026-03-01T12:00:00+00:00",
			"author": map[string]any{"name": "John Smith", "email": "john@example.com"}},
	}
	if oldrev != "" {
		attributes["oldrev"] = oldrev
	}
	return p.delivery("Merge Request Hook", hash(p.Path, mr.IID, action, oldrev, mr.SHA), map[string]any{
		"object_kind": "merge_request", "event_type": "merge_request", "user": person, "project": p.inHook(), "object_attributes": attributes,
		"labels": []any{}, "changes": map[string]any{}, "repository": map[string]any{"name": p.name(), "homepage": p.webURL(p.s.base)},
	})
}

// delivery encodes a payload; its keys follow from its content, as GitLab's stay
// the same when it sends again.
func (p *Project) delivery(kind, cause string, payload map[string]any) Delivery {
	body, err := json.Marshal(payload)
	if err != nil {
		panic("gitlabtest: " + err.Error()) // maps of strings and numbers always encode
	}
	return Delivery{Kind: kind, Key: uuid(cause + kind), UUID: uuid(cause + "event" + strconv.Itoa(len(body))), Body: body}
}

// uuid makes a UUID's form of a text.
func uuid(text string) string {
	h := hash(text)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}
