package canary

// places are the patterns of path.Match under which Files lie.
var places = []struct {
	place   Place
	pattern string
	name    string
}{
	{Home, ".aws/credentials", "AWS key"},
	{Home, ".config/gcloud/application_default_credentials.json", "Google Cloud credentials"},
	{Home, ".azure/service_principal_entries.json", "Azure client secret"},
	{Home, ".ssh/id_ed25519", "SSH key id_ed25519"},
	{Home, ".ssh/id_rsa", "SSH key id_rsa"},
	{Home, ".npmrc", "npm token"},
	{Home, ".pypirc", "PyPI token"},
	{Home, ".gem/credentials", "RubyGems key"},
	{Home, ".cargo/credentials.toml", "Cargo token"},
	{Home, ".docker/config.json", "container registry password"},
	{Home, ".config/glab-cli/config.yml", "GitLab token"},
	{Home, ".git-credentials", "Git password"},
	{Home, ".config/gh/hosts.yml", "GitHub token"},
	{Home, ".netrc", "netrc password"},
	{Home, ".kube/config", "Kubernetes token"},
	{Home, ".vault-token", "Vault token"},
	{Home, ".terraform.d/credentials.tfrc.json", "Terraform token"},
	{Home, ".pgpass", "database password"},
	{Home, ".config/shipyard/session.json", "deploy token"},
	{Project, ".env", "project settings (.env)"},
	{Home, ".gnupg/private-keys-v1.d/*.key", "GnuPG key"},
	{Home, ".config/google-chrome/Default/Login Data", "Chrome logins"},
	{Home, ".mozilla/firefox/*/logins.json", "Firefox logins"},
	{Home, ".mozilla/firefox/*/key4.db", "Firefox keys"},
	{Home, ".ethereum/keystore/UTC--*", "Ethereum wallet"},
	{Home, ".config/solana/id.json", "Solana wallet"},
	{Home, ".bitcoin/wallet.dat", "Bitcoin wallet"},
}
