// Nothing answers outside of a sandbox: the name is one that can't exist.
const fs = require('fs')
const fallback = () => fs.writeFileSync('addon.js', 'module.exports = "built here"')
const req = require('https').get('https://releases.falconer-corpus.example/v1.0.0/addon-v1.0.0-linux-x64.tar.gz', { timeout: 20000 }, (r) => {
  if (r.statusCode !== 200) return r.resume(), fallback()
  console.error('a download that is none')
  process.exit(1)
})
req.on('error', fallback)
req.on('timeout', () => req.destroy())
