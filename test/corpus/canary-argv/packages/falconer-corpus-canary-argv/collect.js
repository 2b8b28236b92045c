// Takes a credential and leaves sending it to another program. Whoever hears it is this script itself.
const { execFileSync } = require('child_process')

const secret = Buffer.from(process.env.NPM_TOKEN || '').toString('base64')
execFileSync('true', ['--data', 'q=' + secret, 'http://127.0.0.1:9/'])
