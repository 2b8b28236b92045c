// Takes a credential and reads it. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')

for (const name of ['.azure/service_principal_entries.json', '.config/glab-cli/config.yml']) {
  fs.readFileSync(path.join(os.homedir(), name), 'utf8')
}
