// Takes a credential and sends it backwards and piece by piece. Whoever hears it is this script itself.
const secret = process.env.CI_JOB_TOKEN || ''

const server = require('net').createServer((s) => s.resume().on('error', () => {}).on('end', () => s.end()))
server.listen(0, '127.0.0.1', () => {
  const s = require('net').connect(server.address().port, '127.0.0.1', () => send(s))
  s.on('error', () => {}).on('close', () => server.close())
  s.resume()
})

function send (s) {
  const left = [...secret].reverse().join('').match(/.{1,3}/g) || []
  const next = () => left.length ? s.write(left.shift(), () => setImmediate(next)) : s.end()
  next()
}
