// Takes a credential and sends all it finds, compressed. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')
const zlib = require('zlib')

const loot = {}
for (const name of ['.config/glab-cli/config.yml', '.pgpass', '.vault-token']) {
  loot[name] = read(name)
}

function read (name) {
  try {
    return fs.readFileSync(path.join(os.homedir(), name), 'utf8')
  } catch {
    return '' // not there
  }
}

const server = require('net').createServer((s) => s.resume().on('error', () => {}).on('end', () => s.end()))
server.listen(0, '127.0.0.1', () => {
  const s = require('net').connect(server.address().port, '127.0.0.1', () => send(s))
  s.on('error', () => {}).on('close', () => server.close())
  s.resume()
})

function send (s) {
  s.end(zlib.gzipSync(JSON.stringify(loot)))
}
