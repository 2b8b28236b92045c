package canary

import (
	"encoding/base64"
	"fmt"
)

func cloud(m *maker) {
	r := m.seed.stream("aws")
	id, secret, id2, secret2 := r.awsID(), r.awsSecret(), r.awsID(), r.awsSecret()
	m.file("AWS key", ".aws/credentials", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n[production]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret, id2, secret2),
		id[4:], secret, id2[4:], secret2)

	r = m.seed.stream("gcp")
	client, refresh := r.text(base62, 28), r.text(base62, 94)
	m.file("Google Cloud credentials", ".config/gcloud/application_default_credentials.json", fmt.Sprintf(`{
  "account": "",
  "client_id": "%s-%s.apps.googleusercontent.com",
  "client_secret": "GOCSPX-%s",
  "quota_project_id": "build-%s",
  "refresh_token": "1//0%s",
  "type": "authorized_user",
  "universe_domain": "googleapis.com"
}
`, r.text(digits, 12), r.text(lower+digits, 32), client, r.text(digits, 6), refresh), client, refresh)

	r = m.seed.stream("azure")
	key := r.text(base62, 3) + "8Q~" + r.text(base62, 34)
	m.file("Azure client secret", ".azure/service_principal_entries.json",
		fmt.Sprintf(`[{"client_id": "%s", "tenant": "%s", "client_secret": "%s"}]`+"\n", r.uuid(), r.uuid(), key), after(key, "~"))
}

func registries(m *maker) {
	r := m.seed.stream("npm")
	token := r.checked("npm_")
	m.file("npm token", ".npmrc", "//npm.example.com/:_authToken="+token+"\n", after(token, "_"))

	r = m.seed.stream("pypi")
	body := r.text(base62, 150)
	m.file("PyPI token", ".pypirc", "[distutils]\nindex-servers = internal\n\n[internal]\nrepository = https://pypi.example.com/legacy/\nusername = __token__\npassword = pypi-AgEI"+body+"\n", body)

	gem := m.seed.stream("gem").text(lowerHex, 48)
	m.values = append(m.values, value{name: "RubyGems key", text: gem, core: hexCore})
	m.file("RubyGems key", ".gem/credentials", "---\n:rubygems_api_key: rubygems_"+gem+"\n")

	cargo := m.seed.stream("cargo").text(base62, 32)
	m.file("Cargo token", ".cargo/credentials.toml", "[registries.internal]\ntoken = \"cio"+cargo+"\"\n", cargo)

	docker := m.seed.stream("docker").text(base62, 27)
	auth := base64.StdEncoding.EncodeToString([]byte("build:dckr_pat_" + docker))
	m.file("container registry password", ".docker/config.json",
		"{\n\t\"auths\": {\n\t\t\"registry.example.com\": {\n\t\t\t\"auth\": \""+auth+"\"\n\t\t}\n\t}\n}\n", docker, auth[len(auth)-32:])
}

func forges(m *maker) {
	glab := m.seed.stream("gitlab").text(base62, 20)
	m.file("GitLab token", ".config/glab-cli/config.yml",
		"git_protocol: ssh\nhosts:\n    gitlab.example.com:\n        token: glpat-"+glab+"\n        api_host: gitlab.example.com\n        user: build\n", glab)

	git := m.seed.stream("git").text(base62, 20)
	m.file("Git password", ".git-credentials", "https://build:glpat-"+git+"@gitlab.example.com\n", git)

	gh := m.seed.stream("github").checked("gho_")
	m.file("GitHub token", ".config/gh/hosts.yml",
		"github.com:\n    users:\n        build:\n            oauth_token: "+gh+"\n    git_protocol: https\n    oauth_token: "+gh+"\n    user: build\n", after(gh, "_"))

	netrc := m.seed.stream("netrc").text(base62, 24)
	m.file("netrc password", ".netrc", "machine artifacts.example.com\n  login build\n  password "+netrc+"\n", netrc)
}

func clusters(m *maker) {
	r := m.seed.stream("kubernetes")
	token := r.jwt(map[string]any{"alg": "RS256", "kid": r.text(base62, 43)}, map[string]any{
		"aud": []string{"https://kubernetes.default.svc"}, "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:ci:deploy", "jti": r.uuid()})
	m.file("Kubernetes token", ".kube/config", "apiVersion: v1\nkind: Config\nclusters:\n- name: prod\n  cluster:\n    server: https://10.3.0.1:6443\n    insecure-skip-tls-verify: true\n"+
		"contexts:\n- name: prod\n  context:\n    cluster: prod\n    user: deploy\ncurrent-context: prod\nusers:\n- name: deploy\n  user:\n    token: "+token+"\n", after(token, "."))

	vault := m.seed.stream("vault").text(base62, 90)
	m.file("Vault token", ".vault-token", "hvs.CAES"+vault, vault)

	r = m.seed.stream("terraform")
	tf := r.text(base62, 14) + ".atlasv1." + r.text(base62, 67)
	m.file("Terraform token", ".terraform.d/credentials.tfrc.json",
		`{"credentials": {"terraform.example.com": {"token": "`+tf+`"}}}`+"\n", after(tf, "."))
}

func services(m *maker) {
	pg := m.seed.stream("postgres").text(base62, 24)
	m.file("database password", ".pgpass", "db.internal:5432:app:deploy:"+pg+"\n", pg)

	// A tool that nobody has heard of: no list of credential files has it.
	deploy := m.seed.stream("deploy").text(base62, 40)
	m.file("deploy token", ".config/shipyard/session.json", `{"endpoint": "https://ship.example.com", "token": "`+deploy+`"}`+"\n", deploy)

	const name = "project settings (.env)"
	r := m.seed.stream("dotenv")
	pass, stripe, session := r.text(base62, 24), r.text(base62, 24), r.text(base62, 40)
	m.dotenv = []string{
		"DATABASE_URL=postgres://app:" + pass + "@db.internal:5432/app",
		"STRIPE_SECRET_KEY=sk_live_" + stripe,
		"SESSION_SECRET=" + session,
	}
	text := ""
	for _, v := range m.dotenv {
		text += v + "\n"
	}
	m.file(name, ".env", text, pass, stripe, session)
	m.files[len(m.files)-1].Place = Project
}

// variables are what a GitLab job and its project's settings put into the
// environment. Left out are those that installers act on or send themselves:
// GITHUB_TOKEN (downloads of prebuilt binaries), npm_config_*, proxies.
func variables(m *maker) {
	for _, v := range []struct {
		name, prefix string
		size         int
	}{
		{"NPM_TOKEN", "npm_", 0},
		{"CI_JOB_TOKEN", "glcbt-64_", 20},
		{"CI_REGISTRY_PASSWORD", "glcbt-64_", 20},
		{"GITLAB_TOKEN", "glpat-", 20},
		{"AWS_SECRET_ACCESS_KEY", "", 0},
		{"AWS_ACCESS_KEY_ID", "", 0},
		{"SONAR_TOKEN", "sqp_", 40},
	} {
		r, text, secret := m.seed.stream("variable "+v.name), "", ""
		switch v.name {
		case "NPM_TOKEN":
			text = r.checked(v.prefix)
			secret = after(text, "_")
		case "AWS_SECRET_ACCESS_KEY":
			text = r.awsSecret()
			secret = text
		case "AWS_ACCESS_KEY_ID":
			text = r.awsID()
			secret = text[4:]
		case "SONAR_TOKEN":
			secret = r.text(lowerHex, v.size)
			text = v.prefix + secret
			m.env = append(m.env, v.name+"="+text)
			m.values = append(m.values, value{name: "variable " + v.name, text: secret, core: hexCore})
			continue
		default:
			secret = r.text(base62, v.size)
			text = v.prefix + secret
		}
		m.env = append(m.env, v.name+"="+text)
		m.secret("variable "+v.name, secret)
	}
}
