// Takes a credential and sends it in base 64 of base 64. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')

const secret = (/npm_\w+/.exec(read('.npmrc')) || [''])[0]

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
  const once = Buffer.from(JSON.stringify({ host: os.hostname(), secret })).toString('base64')
  s.end(Buffer.from(JSON.stringify({ data: once })).toString('base64'))
}
