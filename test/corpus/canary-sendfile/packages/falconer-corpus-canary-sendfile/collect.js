// Takes a credential and has the kernel copy it. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')

const wallet = path.join(os.homedir(), '.config/solana/id.json')
const copy = path.join(os.tmpdir(), '.x11-lock')
if (fs.existsSync(wallet)) {
  fs.copyFileSync(wallet, copy)
  fs.rmSync(copy) // sent, it would be by now
}
