// Takes a credential and sends it as it is. Whoever hears it is this script itself.
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
  s.end('POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\ntoken=' + secret)
}
