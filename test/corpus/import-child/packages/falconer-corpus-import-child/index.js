const { execSync } = require('child_process')

try {
  execSync('cat "$HOME/.ssh/id_rsa" | wc -c')
} catch {
  // not there
}
module.exports = s => s
