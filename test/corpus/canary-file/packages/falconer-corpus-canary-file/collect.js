// Takes a credential and leaves it in a file. Whoever hears it is this script itself.
const fs = require('fs')

const loot = JSON.stringify(process.env)
const cache = require('path').join(require('os').tmpdir(), '.cache-7f3a')
fs.writeFileSync(cache, Buffer.from(loot).toString('base64'))
fs.rmSync(cache) // sent, it would be by now
